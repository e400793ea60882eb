"""The newest block that Connect has taken in, from which confirmations are counted.

Connect's node may be ahead of Connect's index. What is told of a block or a transaction by the node's newest block
Connect may not be able to show yet: a task that waited for it would come too early.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, TypeVar

from airflow_provider_bloq.chains.blocks import Head
from airflow_provider_bloq.connect.addresses import bare_address, require_address, same_address
from airflow_provider_bloq.connect.client import (
    LARGEST_PART,
    ConnectApi,
    require_network,
    require_rest_chain,
)
from airflow_provider_bloq.connect.models import Transaction, Unspent
from airflow_provider_bloq.connect.payments import transactions_since
from airflow_provider_bloq.connect.raw_transactions import require_txid
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqNotFound,
    BloqTransactionDropped,
    BloqUnavailable,
)
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
from airflow_provider_bloq.validation import require_whole_number

__all__ = [
    "AddressCoins",
    "AddressPayments",
    "ConnectBalanceReached",
    "ConnectBlockReached",
    "ConnectHead",
    "ConnectPaymentSeen",
    "ConnectTarget",
    "ConnectTip",
    "ConnectTransactionConfirmed",
    "ConnectTransactions",
    "PaymentInterest",
    "SeenTransactions",
    "settle_place",
]


SeenT = TypeVar("SeenT", Transaction, Unspent)


class ConnectTip:
    """The newest block that Connect has taken in. A block that has been read is not read again.

    :param api: Connect.
    """

    def __init__(self, api: ConnectApi) -> None:
        self._api = api
        self._known: dict[str, Head] = {}

    def read(self) -> Flow[Head | None]:
        """Look which one it is; a flow.

        :return: None while Connect names one that it does not show yet.
        :raises BloqUnavailable: Connect names none.
        """
        newest = yield from ConnectApi.last_block.flow(self._api)
        block_hash = newest.synced_hash or newest.last_hash
        if block_hash is None:
            raise BloqUnavailable("Connect gave a status without the newest block.")
        if block_hash not in self._known:
            try:
                block = yield from ConnectApi.block.flow(self._api, block_hash)
            except BloqNotFound:
                return None
            self._known = {block_hash: Head(block.height, block.hash, block.time)}
        return self._known[block_hash]

    def counted(self, found: list[SeenT]) -> Flow[list[SeenT]]:
        """Return transactions or outputs with no more confirmations than this block gives them; a flow.

        :param found: What Connect told. Nothing is asked where all of it waits for a block.
        """
        if all(one.height is None for one in found):
            return found
        tip = yield from self.read()
        return [
            one
            if one.height is None
            else replace(
                one,
                confirmations=min(one.confirmations, 0 if tip is None else tip.confirmations_of(one.height)),
            )
            for one in found
        ]


@dataclass(frozen=True, slots=True)
class ConnectTarget(Target):
    """Something that Connect tells of a chain.

    :param chain: ``btc`` or ``bch``.
    :param network: Its network; None for the usual one of the connection.
    """

    chain: str
    network: str | None

    def poll_with(self, reader: Reader) -> PollFunction:
        """See :meth:`Target.poll_with`."""
        return self.looking_by(reader.connect(self.chain, self.network))

    @abstractmethod
    def looking_by(self, api: ConnectApi) -> PollFunction:
        """Return what looks by this client, again and again."""


@dataclass(frozen=True, slots=True)
class ConnectHead(ConnectTarget):
    """The newest block that Connect has taken in; seen as a :class:`Head`, or None while it does not show it."""

    def looking_by(self, api: ConnectApi) -> PollFunction:
        """See :meth:`ConnectTarget.looking_by`."""
        tip = ConnectTip(api)

        def look(_: frozenset[Hashable]) -> Flow[Head | None]:
            return (yield from tip.read())

        return look


@dataclass(frozen=True, slots=True)
class SeenTransactions:
    """What one look saw of the transactions that are waited for.

    :param of: Each by its id; None where it is neither in the chain nor in the mempool.
    :param observed_at: When, in seconds since the epoch.
    """

    of: dict[str, Transaction | None]
    observed_at: float


@dataclass(frozen=True, slots=True)
class ConnectTransactions(ConnectTarget):
    """The transactions that are waited for; seen as :class:`SeenTransactions`.

    :param clock: Tells the seconds since the epoch.
    """

    clock: Callable[[], float] = field(default=time.time, compare=False, repr=False)

    def looking_by(self, api: ConnectApi) -> PollFunction:
        """See :meth:`ConnectTarget.looking_by`."""
        tip = ConnectTip(api)

        def look(interests: frozenset[Hashable]) -> Flow[SeenTransactions]:
            seen: dict[str, Transaction] = {}
            for txid in sorted(map(str, interests)):
                with suppress(BloqNotFound):
                    seen[txid] = yield from ConnectApi.transaction.flow(api, txid)
            counted = yield from tip.counted(list(seen.values()))
            known = dict(zip(seen, counted, strict=True))
            return SeenTransactions({str(txid): known.get(str(txid)) for txid in interests}, self.clock())

        return look


@dataclass(frozen=True, slots=True)
class ConnectBlockReached(Condition):
    """A block has so many confirmations; see :class:`~airflow_provider_bloq.chains.conditions.BlockReached`.

    They are counted from the newest block that Connect has taken in, which may not be the newest of its node.

    :param chain: ``btc`` or ``bch``.
    :param height: Number of the block; the genesis block has 0.
    :param confirmations: How many, at least 1.
    :param network: Its network; None for the usual one of the connection.
    :raises BloqConfigurationError: One of these cannot be.
    """

    kind: ClassVar[str] = "connect_block_reached"

    chain: str
    height: int
    confirmations: int = 1
    network: str | None = None

    def __post_init__(self) -> None:
        settle_place(self)
        require_whole_number("height", self.height, least=0)
        require_whole_number("confirmations", self.confirmations, least=1)

    @property
    def target(self) -> Target:
        """See :attr:`Condition.target`."""
        return ConnectHead(self.chain, self.network)

    def judge(self, seen: Head | None, memory: Memory | None) -> Verdict:
        """See :meth:`Condition.judge`; the result tells height, confirmations and the head."""
        if seen is None:
            return Waiting("Connect does not show its newest block yet")
        confirmations = seen.confirmations_of(self.height)
        if confirmations >= self.confirmations:
            return Met({"height": self.height, "confirmations": confirmations, "head": asdict(seen)})
        return Waiting(
            f"block {self.height} of {self.chain} has {confirmations} of {self.confirmations} confirmations; "
            f"the newest is {seen.height}"
        )


@dataclass(frozen=True, slots=True)
class ConnectTransactionConfirmed(Condition):
    """A transaction is in the chain with so many confirmations.

    They are counted from the newest block that Connect has taken in. A reorg that takes it out again before it has
    them all only means to wait on. If it is neither in the chain nor in the mempool for ``unseen_for`` seconds on
    end, the wait ends with ``BloqTransactionDropped``: it was never sent, another one took its place, or the node has
    forgotten it.

    :param chain: ``btc`` or ``bch``.
    :param txid: Its id.
    :param confirmations: How many, at least 1.
    :param unseen_for: Seconds that it may be unknown.
    :param network: Its network; None for the usual one of the connection.
    :raises BloqConfigurationError: One of these cannot be.
    """

    kind: ClassVar[str] = "connect_transaction_confirmed"

    chain: str
    txid: str
    confirmations: int = 1
    unseen_for: float = 600.0
    network: str | None = None

    def __post_init__(self) -> None:
        settle_place(self)
        require_txid(self.txid)
        require_whole_number("confirmations", self.confirmations, least=1)
        seconds = self.unseen_for
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds >= 0:
            raise BloqConfigurationError.of(
                "unseen_for", f"{seconds!r} does not fit", "Use a number of seconds, 0 or more."
            )

    @property
    def target(self) -> Target:
        """See :attr:`Condition.target`."""
        return ConnectTransactions(self.chain, self.network)

    @property
    def interest(self) -> str:
        """See :attr:`Condition.interest`."""
        return require_txid(self.txid)

    def judge(self, seen: SeenTransactions, memory: Memory | None) -> Verdict:
        """See :meth:`Condition.judge`; the result tells id, height, block hash and confirmations."""
        if self.interest not in seen.of:
            return Waiting("it has not been looked for yet", memory)
        transaction = seen.of[self.interest]
        if transaction is None:
            return self._unknown(seen.observed_at, memory)
        if transaction.height is None:
            return Waiting(f"{self.txid} waits for a block")
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


def settle_place(condition: Any) -> None:
    """Bring a condition's chain and network into lower case: by them those that can look together are found.

    :raises BloqConfigurationError: Connect does not have the chain or the network.
    """
    object.__setattr__(condition, "chain", require_rest_chain(condition.chain))
    if condition.network is not None:
        object.__setattr__(condition, "network", require_network(condition.network))


ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class AddressCoins(ConnectTarget):
    """What can be spent from the addresses that are waited for; seen as a list of :class:`Unspent`.

    Fifty addresses are asked about at once.
    """

    def looking_by(self, api: ConnectApi) -> PollFunction:
        """See :meth:`ConnectTarget.looking_by`."""
        tip = ConnectTip(api)

        def look(interests: frozenset[Hashable]) -> Flow[list[Unspent]]:
            coins: list[Unspent] = []
            # Of one that is waited for in two spellings the coins would come, and count, twice.
            wanted = {bare_address(address): address for address in sorted(map(str, interests))}
            for addresses in _parts(list(wanted.values())):
                coins += yield from ConnectApi.unspent.flow(api, addresses)
            return (yield from tip.counted(coins))

        return look


@dataclass(frozen=True, slots=True, order=True)
class PaymentInterest:
    """An address whose payments a look must ask for.

    :param address: The address.
    :param since_height: Number of the first block that counts.
    """

    address: str
    since_height: int


@dataclass(frozen=True, slots=True)
class AddressPayments(ConnectTarget):
    """The transactions of the addresses that are waited for; seen as a list of :class:`Transaction`.

    Fifty addresses are asked about at once, back to the earliest block that counts for any of them.
    """

    def looking_by(self, api: ConnectApi) -> PollFunction:
        """See :meth:`ConnectTarget.looking_by`."""
        tip = ConnectTip(api)

        def look(interests: frozenset[Hashable]) -> Flow[list[Transaction]]:
            wanted = sorted(one for one in interests if isinstance(one, PaymentInterest))
            transactions: list[Transaction] = []
            for part in _parts(wanted):
                addresses = list(dict.fromkeys(one.address for one in part))
                since = min(one.since_height for one in part)
                transactions += yield from transactions_since(api, addresses, since)
            return (yield from tip.counted(transactions))

        return look


@dataclass(frozen=True, slots=True)
class ConnectBalanceReached(Condition):
    """An address has so much, counting what has so many confirmations by the newest block that Connect has taken in.

    :param chain: ``btc`` or ``bch``.
    :param address: The address.
    :param at_least_sat: How much, in satoshi, at least 1.
    :param confirmations: How many; 0 counts what waits for a block as well.
    :param network: Its network; None for the usual one of the connection.
    :raises BloqConfigurationError: One of these cannot be.
    """

    kind: ClassVar[str] = "connect_balance_reached"

    chain: str
    address: str
    at_least_sat: int = 1
    confirmations: int = 1
    network: str | None = None

    def __post_init__(self) -> None:
        settle_place(self)
        require_address(self.chain, self.address, self.network)
        require_whole_number("at_least_sat", self.at_least_sat, least=1)
        require_whole_number("confirmations", self.confirmations, least=0)

    @property
    def target(self) -> Target:
        """See :attr:`Condition.target`."""
        return AddressCoins(self.chain, self.network)

    @property
    def interest(self) -> str:
        """See :attr:`Condition.interest`."""
        return require_address(self.chain, self.address, self.network)

    def judge(self, seen: list[Unspent], memory: Memory | None) -> Verdict:
        """See :meth:`Condition.judge`; the result tells address and balance."""
        wanted = self.interest
        counted = [
            coin.amount_sat
            for coin in seen
            if same_address(coin.address, wanted) and coin.confirmations >= self.confirmations
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
class ConnectPaymentSeen(Condition):
    """An address was paid so much by one output, with so many confirmations; of several the deepest is told.

    It counts also if it was spent meanwhile. A reorg that takes it out of the chain means to wait on. Confirmations
    are counted from the newest block that Connect has taken in.

    :param chain: ``btc`` or ``bch``.
    :param address: The address.
    :param at_least_sat: How much, in satoshi, at least 1.
    :param confirmations: How many; 0 is content with a transaction that waits for a block.
    :param since_height: Number of the first block that counts; what waits for a block always does.
    :param network: Its network; None for the usual one of the connection.
    :raises BloqConfigurationError: One of these cannot be.
    """

    kind: ClassVar[str] = "connect_payment_seen"

    chain: str
    address: str
    at_least_sat: int = 1
    confirmations: int = 1
    since_height: int = 0
    network: str | None = None

    def __post_init__(self) -> None:
        settle_place(self)
        require_address(self.chain, self.address, self.network)
        require_whole_number("at_least_sat", self.at_least_sat, least=1)
        require_whole_number("confirmations", self.confirmations, least=0)
        require_whole_number("since_height", self.since_height, least=0)

    @property
    def target(self) -> Target:
        """See :attr:`Condition.target`."""
        return AddressPayments(self.chain, self.network)

    @property
    def interest(self) -> PaymentInterest:
        """See :attr:`Condition.interest`."""
        return PaymentInterest(require_address(self.chain, self.address, self.network), self.since_height)

    def judge(self, seen: list[Transaction], memory: Memory | None) -> Verdict:
        """See :meth:`Condition.judge`; the result tells the payment."""
        payments = list(self._payments(seen))
        deep = [payment for payment in payments if payment["confirmations"] >= self.confirmations]
        if deep:
            return Met(max(deep, key=lambda payment: payment["confirmations"]))
        if not payments:
            return Waiting(f"{self.interest.address} was not paid {self.at_least_sat} satoshi")
        most = max(payment["confirmations"] for payment in payments)
        return Waiting(
            f"{self.interest.address} was paid, with {most} of {self.confirmations} confirmations so far"
        )

    def _payments(self, seen: list[Transaction]) -> Iterator[dict[str, Any]]:
        wanted = self.interest
        for transaction in seen:
            if transaction.height is not None and transaction.height < wanted.since_height:
                continue
            for output in transaction.outputs:
                pays = any(same_address(address, wanted.address) for address in output.addresses)
                if pays and output.amount_sat >= self.at_least_sat:
                    yield {
                        "address": wanted.address,
                        "amount_sat": output.amount_sat,
                        "txid": transaction.txid,
                        "index": output.index,
                        "height": transaction.height,
                        "block_hash": transaction.block_hash,
                        "confirmations": transaction.confirmations,
                    }


def _parts(wanted: list[ItemT]) -> Iterator[list[ItemT]]:
    for begin in range(0, len(wanted), LARGEST_PART):
        yield wanted[begin : begin + LARGEST_PART]
