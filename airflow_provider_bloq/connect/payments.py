"""The transactions of many addresses from a block on, whole although the list changes while it is read."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeAlias

from airflow_provider_bloq.connect.addresses import same_address
from airflow_provider_bloq.connect.client import LARGEST_PART, AsyncConnectClient, ConnectApi
from airflow_provider_bloq.connect.models import ConnectValue, Transaction
from airflow_provider_bloq.connect.stream import ReconnectingStream
from airflow_provider_bloq.connect.stream_packets import StreamEvent, is_block, subscriptions, txid_in
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqListShifted,
    BloqNotFound,
    BloqReorg,
)
from airflow_provider_bloq.flow.backoff import BackoffSettings, advice_on
from airflow_provider_bloq.flow.effects import Flow

__all__ = [
    "LOOKING_AGAIN",
    "Payment",
    "PaymentBook",
    "PaymentChanged",
    "PaymentEvent",
    "PaymentFeed",
    "PaymentSnapshot",
    "look_for_payments",
    "look_up_payment",
    "payments_in",
    "read_height",
    "transactions_since",
]


#: How often a list is read where it changes meanwhile.
_ATTEMPTS = 5


def transactions_since(api: ConnectApi, addresses: Sequence[str], height: int) -> Flow[list[Transaction]]:
    """Read the transactions of addresses in a block and those after it, and those that wait for one; a flow.

    :param api: Connect.
    :param addresses: The addresses; fifty are asked about at once. A transaction that touches several is there
        once for each fifty of them that it touches.
    :param height: Number of the block.
    :return: For each fifty addresses those that wait, then the others, the newest first. There may be a few of
        earlier blocks among the last.
    :raises BloqListShifted: A list changed again and again while it was read.
    """
    found: list[Transaction] = []
    for begin in range(0, len(addresses), LARGEST_PART):
        found += yield from _of_part(api, addresses[begin : begin + LARGEST_PART], height)
    return found


def _of_part(api: ConnectApi, addresses: Sequence[str], height: int) -> Flow[list[Transaction]]:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return (yield from _walked(api, addresses, height))
        except BloqListShifted:
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _walked(api: ConnectApi, addresses: Sequence[str], height: int) -> Flow[list[Transaction]]:
    walk = ConnectApi.history.begin(api, addresses)
    found: list[Transaction] = []
    while items := (yield from walk.step()):
        found += items
        # The newest come first, and before them those that wait for a block.
        if all(one.height is not None and one.height < height for one in items):
            break
    return found


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
class PaymentChanged(ConnectValue):
    """A payment that was told of is elsewhere now: in a block, in another block, in none, or gone.

    :param before: As it was told of.
    :param after: As it is; None where it is neither in the chain nor waits for a block. Should it come back, it is
        told of anew, as a :class:`Payment`.
    """

    before: Payment
    after: Payment | None

    @property
    def is_reorg(self) -> bool:
        """Whether the block that it was in is no longer of the chain."""
        return self.before.height is not None


PaymentEvent: TypeAlias = Payment | PaymentChanged


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
        return [PaymentChanged(known, None) for known in self._known.values() if known.txid == txid]

    def note(self, event: PaymentEvent) -> None:
        """Take down that an event was told."""
        now = event if isinstance(event, Payment) else event.after
        if now is not None:
            self._known[now.outpoint] = now
        elif isinstance(event, PaymentChanged):
            self._known.pop(event.before.outpoint, None)

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
        return None if stays else PaymentChanged(known, payment)


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


@dataclass(frozen=True, slots=True)
class PaymentSnapshot:
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
) -> Flow[PaymentSnapshot]:
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
    return PaymentSnapshot(events) if anchor is None else PaymentSnapshot(events, floor, anchor)


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


log = logging.getLogger(__name__)

#: After a failed look half a second to one passes until the next; it doubles, up to a minute.
LOOKING_AGAIN = BackoffSettings(first=1.0, cap=60.0)


class PaymentFeed:
    """An async iterator over what becomes of payments; made by ``payments()`` of an async Connect client.

    Use it in ``async with``. It never ends by itself. A step that is cancelled loses nothing: ask for the next.

    :param client: Reads over REST.
    :param life: Keeps it connected to the stream.
    :param addresses: Whose payments.
    :param book: What was told before; None to begin with what comes from now on.
    :param depth: How many blocks deep a payment is taken to be final, and forgotten.
    :param interval: Seconds after which it looks over REST although the stream gives no reason.
    :param backoff: How long it waits before it looks again after a failure.
    :param sleep: Lets seconds pass before it does.
    :param random: Gives a number from 0 to 1, for the jitter.
    """

    def __init__(
        self,
        client: AsyncConnectClient,
        life: ReconnectingStream,
        addresses: tuple[str, ...],
        book: PaymentBook | None,
        *,
        depth: int,
        interval: float,
        backoff: BackoffSettings = LOOKING_AGAIN,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._life = life
        self._addresses = addresses
        self._book = book
        self._depth = depth
        self._interval = interval
        self._backoff = backoff
        self._sleep = sleep
        self._random = random
        self._opened = AsyncExitStack()
        self._stirred = asyncio.Event()
        #: Found, and yet to be told.
        self._found: deque[PaymentEvent] = deque()
        #: The floor, and the hash of the block below, to which the book goes when all that was found is told.
        self._floor: tuple[int, str] | None = None
        #: Announced by the stream, and yet to be read.
        self._announced: dict[str, None] = {}
        self._looks_at = float("-inf")

    @property
    def cursor(self) -> dict[str, Any]:
        """What was told so far, as JSON: pass it as ``since`` to go on after the last event that was given.

        :raises RuntimeError: The feed was not entered yet.
        """
        return self._entered.to_json()

    async def __aenter__(self) -> Self:
        if self._book is None:
            self._book = PaymentBook(await self._client.run(read_height(self._client)) + 1)
        await self._opened.enter_async_context(self._life.led(self, subscriptions(self._addresses)))
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._opened.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PaymentEvent:
        while not self._found:
            await self._until_due()
            await self._find()
        event = self._found.popleft()
        self._entered.note(event)
        self._settle()
        return event

    def joined(self) -> None:
        """See :meth:`Listener.joined`."""
        self._look_soon()

    def heard(self, event: StreamEvent) -> None:
        """See :meth:`Listener.heard`."""
        txid = txid_in(event)
        if txid is not None:
            self._announced[txid] = None
            self._stirred.set()
        elif is_block(event):
            self._look_soon()

    @property
    def _entered(self) -> PaymentBook:
        if self._book is None:
            raise RuntimeError("the feed was not entered: use it in async with")
        return self._book

    def _look_soon(self) -> None:
        self._looks_at = float("-inf")
        self._stirred.set()

    async def _until_due(self) -> None:
        remaining = self._looks_at - asyncio.get_running_loop().time()
        if self._announced or remaining <= 0:
            return
        self._stirred.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(remaining):
                await self._stirred.wait()

    async def _find(self) -> None:
        """Make one look, or read one announced transaction."""
        failures = 0
        while True:
            try:
                await self._look_or_read()
            except BloqReorg:
                raise
            except Exception as error:
                failures += 1
                advice = advice_on(error, failures, self._random(), self._backoff)
                if advice is None or advice.pause is None:
                    raise
                log.warning("A look for payments failed, the next is in %.0f s: %s", advice.pause, error)
                await self._sleep(advice.pause)
            else:
                return

    async def _look_or_read(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._looks_at:
            await self._look(now)
        elif self._announced:
            txid = next(iter(self._announced))
            looking_up = look_up_payment(self._client, self._entered, self._addresses, txid)
            self._found.extend(await self._client.run(looking_up))
            del self._announced[txid]

    async def _look(self, now: float) -> None:
        wanted_before = self._looks_at
        # Set before the look: what is heard while it lasts may call for another one.
        self._looks_at = now + self._interval
        looking = look_for_payments(self._client, self._entered, self._addresses, self._depth)
        try:
            sight = await self._client.run(looking)
        except BaseException:
            self._looks_at = wanted_before
            raise
        self._found.extend(sight.events)
        self._floor = None if sight.floor is None else (sight.floor, sight.anchor)
        self._settle()

    def _settle(self) -> None:
        if self._floor is not None and not self._found:
            self._entered.raise_floor(*self._floor)
            self._floor = None
