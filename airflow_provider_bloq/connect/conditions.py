"""Conditions on a chain in Connect: a block, a transaction, a balance or a payment with enough confirmations.

Confirmations are counted from the newest block that Connect has indexed. Its node may be ahead: counted from the node's
newest block, a wait could end before Connect can return what it was waiting for.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

from airflow_provider_bloq.arguments import require_seconds, require_whole_number
from airflow_provider_bloq.chains.blocks import Head
from airflow_provider_bloq.chains.conditions import judge_block
from airflow_provider_bloq.connect.addresses import address_key, require_address, same_address
from airflow_provider_bloq.connect.client import ConnectApi, require_network, require_rest_chain
from airflow_provider_bloq.connect.history import batches, transactions_since
from airflow_provider_bloq.connect.models import Transaction, Unspent
from airflow_provider_bloq.connect.raw_transactions import require_txid
from airflow_provider_bloq.exceptions import BloqNotFound, BloqTransactionDropped, BloqUnavailable
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.polling.conditions import (
    Condition,
    Failed,
    Memory,
    Met,
    PollFunction,
    Reader,
    Target,
    Verdict,
    Waiting,
)

__all__ = [
    "AddressOutputs",
    "AddressPayments",
    "ConnectBalanceReached",
    "ConnectBlockReached",
    "ConnectHead",
    "ConnectPaymentSeen",
    "ConnectTarget",
    "ConnectTransactionConfirmed",
    "ConnectTransactions",
    "FoundTransactions",
    "IndexedTip",
    "PaymentInterest",
]


ItemT = TypeVar("ItemT", Transaction, Unspent)


class IndexedTip:
    """The newest block that Connect has indexed. Each block is read once.

    :param api: Connect.
    """

    def __init__(self, api: ConnectApi) -> None:
        self._api = api
        self._known: dict[str, Head] = {}

    def read(self) -> Flow[Head | None]:
        """Read the block; a flow.

        :return: None while Connect names a block that it does not return yet.
        :raises BloqUnavailable: Connect names no block.
        """
        newest = yield from ConnectApi.last_block.flow(self._api)
        block_hash = newest.synced_hash or newest.last_hash
        if block_hash is None:
            raise BloqUnavailable("Connect's answer lacks the newest block.")
        if block_hash not in self._known:
            try:
                block = yield from ConnectApi.block.flow(self._api, block_hash)
            except BloqNotFound:
                return None
            self._known = {block_hash: Head(block.height, block.hash, block.time)}
        return self._known[block_hash]

    def with_confirmations(self, items: list[ItemT]) -> Flow[list[ItemT]]:
        """Return transactions or outputs with their confirmations limited to those by this block; a flow.

        Nothing is read if all of them are in the mempool.

        :param items: What Connect returned.
        """
        if all(one.height is None for one in items):
            return items
        tip = yield from self.read()
        return [
            one
            if one.height is None
            else replace(
                one,
                confirmations=min(one.confirmations, 0 if tip is None else tip.confirmations_of(one.height)),
            )
            for one in items
        ]


@dataclass(frozen=True, slots=True)
class ConnectTarget(Target):
    """Something to poll on a chain in Connect.

    :param chain: ``btc`` or ``bch``.
    :param network: Its network; None for the connection's default.
    """

    chain: str
    network: str | None

    def poll_with(self, reader: Reader) -> PollFunction:
        return self.poll_function(reader.connect(self.chain, self.network))

    @abstractmethod
    def poll_function(self, api: ConnectApi) -> PollFunction:
        """Return the function that polls the target through this client."""


@dataclass(frozen=True, slots=True)
class ConnectHead(ConnectTarget):
    """The newest block that Connect has indexed, as a :class:`Head`; None while Connect does not return it yet."""

    def poll_function(self, api: ConnectApi) -> PollFunction:
        tip = IndexedTip(api)
        return lambda _: tip.read()


@dataclass(frozen=True, slots=True)
class FoundTransactions:
    """The result of a poll for transactions.

    :param by_txid: The transactions; None for one that is neither in the chain nor in the mempool.
    :param observed_at: Time of the poll in epoch seconds.
    """

    by_txid: dict[str, Transaction | None]
    observed_at: float


@dataclass(frozen=True, slots=True)
class ConnectTransactions(ConnectTarget):
    """Transactions by their ids, as :class:`FoundTransactions`.

    :param clock: Returns the time in epoch seconds.
    """

    clock: Callable[[], float] = field(default=time.time, compare=False, repr=False)

    def poll_function(self, api: ConnectApi) -> PollFunction:
        tip = IndexedTip(api)

        def poll(interests: frozenset[Hashable]) -> Flow[FoundTransactions]:
            found: dict[str, Transaction] = {}
            for txid in sorted(map(str, interests)):
                with suppress(BloqNotFound):
                    found[txid] = yield from ConnectApi.transaction.flow(api, txid)
            counted = yield from tip.with_confirmations(list(found.values()))
            known = dict(zip(found, counted, strict=True))
            return FoundTransactions({str(txid): known.get(str(txid)) for txid in interests}, self.clock())

        return poll


@dataclass(frozen=True, slots=True)
class AddressOutputs(ConnectTarget):
    """The unspent outputs of addresses, as a list of :class:`Unspent`."""

    def poll_function(self, api: ConnectApi) -> PollFunction:
        tip = IndexedTip(api)

        def poll(interests: frozenset[Hashable]) -> Flow[list[Unspent]]:
            outputs: list[Unspent] = []
            # In two formats, an address would be returned, and counted, twice.
            wanted = {address_key(address): address for address in sorted(map(str, interests))}
            for batch in batches(list(wanted.values())):
                outputs += yield from ConnectApi.unspent.flow(api, batch)
            return (yield from tip.with_confirmations(outputs))

        return poll


@dataclass(frozen=True, slots=True, order=True)
class PaymentInterest:
    """An address whose payments a poll has to read.

    :param address: The address.
    :param since_height: Height of the first block that counts.
    """

    address: str
    since_height: int


@dataclass(frozen=True, slots=True)
class AddressPayments(ConnectTarget):
    """The transactions of addresses, as a list of :class:`Transaction`; from the first block that any waiter needs."""

    def poll_function(self, api: ConnectApi) -> PollFunction:
        tip = IndexedTip(api)

        def poll(interests: frozenset[Hashable]) -> Flow[list[Transaction]]:
            transactions: list[Transaction] = []
            for batch in batches(sorted(one for one in interests if isinstance(one, PaymentInterest))):
                addresses = list(dict.fromkeys(one.address for one in batch))
                since = min(one.since_height for one in batch)
                transactions += yield from transactions_since(api, addresses, since)
            return (yield from tip.with_confirmations(transactions))

        return poll


def _normalise_chain(condition: Any) -> None:
    """Change chain and network to lower case, so that equal targets share their polls.

    :raises BloqConfigurationError: Connect does not have the chain or the network.
    """
    object.__setattr__(condition, "chain", require_rest_chain(condition.chain))
    if condition.network is not None:
        object.__setattr__(condition, "network", require_network(condition.network))


@dataclass(frozen=True, slots=True)
class ConnectBlockReached(Condition):
    """A block has enough confirmations; see :class:`~airflow_provider_bloq.chains.conditions.BlockReached`.

    :param chain: ``btc`` or ``bch``.
    :param height: Height of the block.
    :param confirmations: How many it needs, at least 1.
    :param network: Its network; None for the connection's default.
    :raises BloqConfigurationError: One of these is invalid.
    """

    kind: ClassVar[str] = "connect_block_reached"

    chain: str
    height: int
    confirmations: int = 1
    network: str | None = None

    def __post_init__(self) -> None:
        _normalise_chain(self)
        require_whole_number("height", self.height, least=0)
        require_whole_number("confirmations", self.confirmations, least=1)

    @property
    def target(self) -> Target:
        return ConnectHead(self.chain, self.network)

    def judge(self, seen: Head | None, memory: Memory | None) -> Verdict:
        if seen is None:
            return Waiting("Connect does not return its newest block yet")
        return judge_block(seen, self.height, self.confirmations)


@dataclass(frozen=True, slots=True)
class ConnectTransactionConfirmed(Condition):
    """A transaction has enough confirmations.

    If a reorg removes it before that, the wait goes on. The wait fails with ``BloqTransactionDropped`` if the
    transaction is neither in the chain nor in the mempool for ``unseen_for`` seconds: it was never sent, another one
    replaced it, or the node has dropped it.

    :param chain: ``btc`` or ``bch``.
    :param txid: Its id.
    :param confirmations: How many it needs, at least 1.
    :param unseen_for: Seconds for which it may be unknown.
    :param network: Its network; None for the connection's default.
    :raises BloqConfigurationError: One of these is invalid.
    """

    kind: ClassVar[str] = "connect_transaction_confirmed"

    chain: str
    txid: str
    confirmations: int = 1
    unseen_for: float = 600.0
    network: str | None = None

    def __post_init__(self) -> None:
        _normalise_chain(self)
        require_txid(self.txid)
        require_whole_number("confirmations", self.confirmations, least=1)
        require_seconds("unseen_for", self.unseen_for)

    @property
    def target(self) -> Target:
        return ConnectTransactions(self.chain, self.network)

    @property
    def interest(self) -> str:
        return require_txid(self.txid)

    def judge(self, seen: FoundTransactions, memory: Memory | None) -> Verdict:
        if self.interest not in seen.by_txid:
            return Waiting("it has not been polled yet", memory)
        transaction = seen.by_txid[self.interest]
        if transaction is None:
            return self._unknown(seen.observed_at, memory)
        if transaction.height is None:
            return Waiting(f"{self.txid} is in the mempool")
        if transaction.confirmations < self.confirmations:
            return Waiting(
                f"{self.txid} has {transaction.confirmations} of {self.confirmations} confirmations"
            )
        return Met(
            {
                "txid": transaction.txid,
                "height": transaction.height,
                "block_hash": transaction.block_hash,
                "confirmations": transaction.confirmations,
            }
        )

    def _unknown(self, now: float, memory: Memory | None) -> Verdict:
        since = (memory or {}).get("unknown_since", now)
        if now - since >= self.unseen_for:
            return Failed(
                BloqTransactionDropped(
                    f"{self.txid} has been neither in the chain nor in the mempool for {now - since:.0f} seconds.",
                    tx_hash=self.txid,
                )
            )
        return Waiting(f"{self.txid} is not known to Connect", {"unknown_since": since})


@dataclass(frozen=True, slots=True)
class AddressCondition(Condition):
    """A condition on an amount at an address.

    :param chain: ``btc`` or ``bch``.
    :param address: The address.
    :param at_least_sat: The amount in satoshi, at least 1.
    :param confirmations: How many it needs; 0 to include the mempool.
    :param network: Its network; None for the connection's default.
    :raises BloqConfigurationError: One of these is invalid.
    """

    chain: str
    address: str
    at_least_sat: int = 1
    confirmations: int = 1
    network: str | None = None

    def __post_init__(self) -> None:
        _normalise_chain(self)
        require_address(self.chain, self.address, self.network)
        require_whole_number("at_least_sat", self.at_least_sat, least=1)
        require_whole_number("confirmations", self.confirmations, least=0)

    @property
    def canonical_address(self) -> str:
        """The address in the form that results have."""
        return require_address(self.chain, self.address, self.network)


@dataclass(frozen=True, slots=True)
class ConnectBalanceReached(AddressCondition):
    """An address has a balance, counting unspent outputs with enough confirmations."""

    kind: ClassVar[str] = "connect_balance_reached"

    @property
    def target(self) -> Target:
        return AddressOutputs(self.chain, self.network)

    @property
    def interest(self) -> str:
        return self.canonical_address

    def judge(self, seen: list[Unspent], memory: Memory | None) -> Verdict:
        wanted = self.canonical_address
        counted = [
            output.amount_sat
            for output in seen
            if same_address(output.address, wanted) and output.confirmations >= self.confirmations
        ]
        balance = sum(counted)
        if balance >= self.at_least_sat:
            return Met(
                {
                    "address": wanted,
                    "balance_sat": balance,
                    "outputs": len(counted),
                    "confirmations": self.confirmations,
                }
            )
        return Waiting(f"{wanted} has {balance} of {self.at_least_sat} satoshi")


@dataclass(frozen=True, slots=True)
class ConnectPaymentSeen(AddressCondition):
    """One output pays an address enough and has enough confirmations. Of several, the one with most is returned.

    It also counts if it has been spent meanwhile. If a reorg removes it before that, the wait goes on.

    :param since_height: Height of the first block that counts; the mempool always does.
    """

    kind: ClassVar[str] = "connect_payment_seen"

    since_height: int = 0

    def __post_init__(self) -> None:
        # A dataclass with slots is created twice, which breaks super() without arguments.
        AddressCondition.__post_init__(self)
        require_whole_number("since_height", self.since_height, least=0)

    @property
    def target(self) -> Target:
        return AddressPayments(self.chain, self.network)

    @property
    def interest(self) -> PaymentInterest:
        return PaymentInterest(self.canonical_address, self.since_height)

    def judge(self, seen: list[Transaction], memory: Memory | None) -> Verdict:
        best = max(self._payments(seen), key=lambda payment: payment["confirmations"], default=None)
        if best is None:
            return Waiting(f"{self.canonical_address} was not paid {self.at_least_sat} satoshi")
        if best["confirmations"] >= self.confirmations:
            return Met(best)
        return Waiting(
            f"{self.canonical_address} was paid, with {best['confirmations']} of {self.confirmations} confirmations"
        )

    def _payments(self, seen: list[Transaction]) -> Iterator[dict[str, Any]]:
        wanted = self.canonical_address
        for transaction in seen:
            if transaction.height is not None and transaction.height < self.since_height:
                continue
            for output in transaction.outputs:
                pays = any(same_address(address, wanted) for address in output.addresses)
                if pays and output.amount_sat >= self.at_least_sat:
                    yield {
                        "address": wanted,
                        "amount_sat": output.amount_sat,
                        "txid": transaction.txid,
                        "index": output.index,
                        "height": transaction.height,
                        "block_hash": transaction.block_hash,
                        "confirmations": transaction.confirmations,
                    }
