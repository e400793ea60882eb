"""Payments to addresses: what is new about them, and what is no longer true. Nothing here reads anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeAlias

from airflow_provider_bloq.clients.bitcoin_addresses import same_address
from airflow_provider_bloq.clients.connect_models import ConnectValue, Transaction
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["Payment", "PaymentBook", "PaymentEvent", "PaymentMoved", "payments_in"]

#: Names a payment: the id of its transaction, and its place among the outputs.
Outpoint: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Payment(ConnectValue):
    """An output that pays one of the addresses.

    :param txid: Id of its transaction.
    :param index: Its place among that transaction's outputs.
    :param address: Whom it pays.
    :param amount_sat: How much, in satoshi.
    :param height: Number of its block; None while it waits for one.
    :param block_hash: Hash of its block; likewise.
    """

    txid: str
    index: int
    address: str
    amount_sat: int
    height: int | None
    block_hash: str | None

    @property
    def outpoint(self) -> Outpoint:
        """Names it among all payments of the chain."""
        return self.txid, self.index


@dataclass(frozen=True, slots=True)
class PaymentMoved(ConnectValue):
    """A payment that was told of is elsewhere now: in a block, in another block, in none, or gone.

    :param was: As it was told of.
    :param now: As it is; None where it is neither in the chain nor waits for a block. Should it come back, it is
        told of anew, as a :class:`Payment`.
    """

    was: Payment
    now: Payment | None

    @property
    def is_reorg(self) -> bool:
        """Whether the block that it was in is no longer of the chain."""
        return self.was.height is not None


PaymentEvent: TypeAlias = Payment | PaymentMoved


class PaymentBook:
    """The payments that were told of, as far back as they may still change.

    :param floor: Number of the first block that counts. Of what lies below nothing is remembered.
    :param anchor: Hash of the block below the floor; None where nothing was told of from there down.
    :param known: The payments.
    """

    def __init__(self, floor: int, anchor: str | None = None, known: Iterable[Payment] = ()) -> None:
        self.floor = floor
        self.anchor = anchor
        self._known = {payment.outpoint: payment for payment in known}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        :raises BloqConfigurationError: It is something else.
        """
        try:
            known = [Payment(**one) for one in fields["payments"]]
            return cls(int(fields["floor"]), fields["anchor"], known)
        except (TypeError, ValueError, KeyError):
            raise BloqConfigurationError.of(
                "since",
                "it is no cursor that payments() gave",
                "Pass what it gave, or a height.",
            ) from None

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON, by which the telling can be gone on with."""
        payments = [asdict(payment) for payment in self._known.values()]
        return {"floor": self.floor, "anchor": self.anchor, "payments": payments}

    def __len__(self) -> int:
        return len(self._known)

    def events_of(self, payments: Iterable[Payment]) -> list[PaymentEvent]:
        """Return what is to be told of payments as they stand now.

        :param payments: In the order in which they are to be told of; each once.
        """
        return [event for payment in payments if (event := self._event_of(payment)) is not None]

    def missing(self, payments: Iterable[Payment]) -> list[str]:
        """Return the ids of transactions that were told of and that are not among those that there are.

        :param payments: All payments from the floor on.
        """
        there = {payment.outpoint for payment in payments}
        return list(dict.fromkeys(txid for txid, index in self._known if (txid, index) not in there))

    def events_without(self, txid: str) -> list[PaymentEvent]:
        """Return what is to be told of a transaction that is neither in the chain nor waits for a block."""
        return [PaymentMoved(known, None) for known in self._known.values() if known.txid == txid]

    def note(self, event: PaymentEvent) -> None:
        """Take down that an event was told."""
        now = event if isinstance(event, Payment) else event.now
        if now is not None:
            self._known[now.outpoint] = now
        elif isinstance(event, PaymentMoved):
            self._known.pop(event.was.outpoint, None)

    def raise_floor(self, floor: int, anchor: str) -> None:
        """Let go of what lies so deep that it is taken to be final.

        :param floor: Number of the first block that is still remembered.
        :param anchor: Hash of the block below.
        """
        self.floor, self.anchor = floor, anchor
        self._known = {
            outpoint: payment
            for outpoint, payment in self._known.items()
            if payment.height is None or payment.height >= floor
        }

    def _event_of(self, payment: Payment) -> PaymentEvent | None:
        known = self._known.get(payment.outpoint)
        if known is None:
            return payment if payment.height is None or payment.height >= self.floor else None
        stays = (known.height, known.block_hash) == (payment.height, payment.block_hash)
        return None if stays else PaymentMoved(known, payment)


def payments_in(transactions: Iterable[Transaction], addresses: Sequence[str]) -> Iterator[Payment]:
    """Find what transactions pay to addresses; each output once, the oldest first.

    :param transactions: The transactions, the newest first. One may be there several times, as it stood at
        different moments: the last counts.
    :param addresses: The addresses.
    """
    latest = {transaction.txid: transaction for transaction in transactions}
    ordered = list(latest.values())
    ordered.reverse()
    ordered.sort(key=_age)
    for transaction in ordered:
        for output in transaction.outputs:
            paid = next(
                (one for one in addresses if any(same_address(named, one) for named in output.addresses)),
                None,
            )
            if paid is not None:
                yield Payment(
                    transaction.txid,
                    output.index,
                    paid,
                    output.amount_sat,
                    transaction.height,
                    transaction.block_hash,
                )


def _age(transaction: Transaction) -> tuple[bool, int]:
    # What waits for a block is the newest.
    return transaction.height is None, transaction.height or 0
