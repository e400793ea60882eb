"""Reads over REST what the stream may have left out about payments: the gap after a connection, and reorgs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.clients.connect import ConnectApi
from airflow_provider_bloq.clients.connect_recent import transactions_since
from airflow_provider_bloq.clients.payments import PaymentBook, PaymentEvent, payments_in
from airflow_provider_bloq.exceptions import BloqNotFound, BloqReorg

__all__ = ["PaymentSight", "look_for_payments", "look_up_payment", "read_height"]


@dataclass(frozen=True, slots=True)
class PaymentSight:
    """What a look gave.

    :param events: What is to be told, the oldest first.
    :param floor: Where the book's floor may be raised to when that has been told; None to leave it.
    :param anchor: Hash of the block below that floor.
    """

    events: list[PaymentEvent]
    floor: int | None = None
    anchor: str = ""


def read_height(api: ConnectApi) -> Flow[int]:
    """Read the number of the newest block that Connect has taken in; a flow."""
    taken_in = (yield from ConnectApi.sync.flow(api)).height
    return (yield from ConnectApi.info.flow(api)).height if taken_in is None else taken_in


def look_for_payments(
    api: ConnectApi, book: PaymentBook, addresses: Sequence[str], depth: int
) -> Flow[PaymentSight]:
    """Read the payments from the book's floor on and compare them with the book; a flow.

    :param api: Connect.
    :param book: What was told already.
    :param addresses: Whose payments.
    :param depth: How many blocks deep a payment is taken to be final.
    :raises BloqReorg: Blocks as deep as that were replaced, of which nothing is remembered.
    :raises BloqListShifted: The list of transactions changed again and again while it was read.
    """
    # Before all else: what comes into a block meanwhile lies above whatever is called final here.
    height = yield from read_height(api)
    if book.anchor is not None and (yield from _hash_at(api, book.floor - 1)) != book.anchor:
        raise BloqReorg(book.floor - 1, height)
    listed = yield from transactions_since(api, addresses, book.floor)
    payments = list(payments_in(listed, addresses))
    events = book.events_of(payments)
    for txid in book.missing(payments):
        # A transaction may have moved in the list while that was read.
        events += yield from look_up_payment(api, book, addresses, txid)
    floor = height - depth + 1
    anchor = (yield from _hash_at(api, floor - 1)) if floor > book.floor else None
    return PaymentSight(events) if anchor is None else PaymentSight(events, floor, anchor)


def look_up_payment(
    api: ConnectApi, book: PaymentBook, addresses: Sequence[str], txid: str
) -> Flow[list[PaymentEvent]]:
    """Read one transaction and compare it with the book; a flow. Parameters as for :func:`look_for_payments`.

    :param txid: Its id.
    """
    try:
        transaction = yield from ConnectApi.transaction.flow(api, txid)
    except BloqNotFound:
        return book.events_without(txid)
    return book.events_of(payments_in([transaction], addresses))


def _hash_at(api: ConnectApi, height: int) -> Flow[str | None]:
    try:
        return (yield from ConnectApi.block_hash.flow(api, height))
    except BloqNotFound:
        return None
