"""Conditions on addresses of Bitcoin and Bitcoin Cash: a balance, or a payment, with so many confirmations."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.clients.bitcoin_addresses import bare_address, require_address, same_address
from airflow_provider_bloq.clients.connect import LARGEST_PART, ConnectApi
from airflow_provider_bloq.clients.connect_models import Transaction, Unspent
from airflow_provider_bloq.clients.connect_recent import transactions_since
from airflow_provider_bloq.clients.limits import require_whole_number
from airflow_provider_bloq.conditions.condition import (
    Condition,
    Memory,
    Met,
    Observer,
    Target,
    Verdict,
    Waiting,
)
from airflow_provider_bloq.conditions.connect import ConnectTarget, settle_place
from airflow_provider_bloq.conditions.connect_tip import ConnectTip

__all__ = [
    "AddressCoins",
    "AddressPayments",
    "ConnectBalanceReached",
    "ConnectPaymentSeen",
    "PaymentInterest",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AddressCoins(ConnectTarget):
    """What can be spent from the addresses that are waited for; seen as a list of :class:`Unspent`.

    Fifty addresses are asked about at once.
    """

    def looking_by(self, api: ConnectApi) -> Observer:
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

    def looking_by(self, api: ConnectApi) -> Observer:
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


def _parts(wanted: list[T]) -> Iterator[list[T]]:
    for begin in range(0, len(wanted), LARGEST_PART):
        yield wanted[begin : begin + LARGEST_PART]
