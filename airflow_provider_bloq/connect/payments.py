"""Payments to addresses as events: new, mined, moved by a reorg, or gone. Each is reported exactly once."""

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
from airflow_provider_bloq.connect.client import AsyncConnectClient, ConnectApi, hash_at
from airflow_provider_bloq.connect.history import indexed_height, transactions_since
from airflow_provider_bloq.connect.models import ConnectValue, Transaction
from airflow_provider_bloq.connect.stream import ReconnectingStream
from airflow_provider_bloq.connect.stream_packets import StreamEvent, is_block, subscriptions, txid_in
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqNotFound, BloqReorg
from airflow_provider_bloq.flow.backoff import BackoffSettings, advice_on
from airflow_provider_bloq.flow.effects import Flow

__all__ = [
    "Payment",
    "PaymentChanged",
    "PaymentEvent",
    "PaymentFeed",
    "ReportedPayments",
    "payments_in",
]


log = logging.getLogger(__name__)

#: The first pause after a failed poll is half a second to one; it doubles, up to a minute.
POLL_BACKOFF = BackoffSettings(first=1.0, cap=60.0)

#: Identifies an output: the id of its transaction, and its index.
Outpoint: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Payment(ConnectValue):
    """An output that pays one of the addresses.

    :param txid: Id of its transaction.
    :param index: Its index among the outputs.
    :param address: The address that it pays.
    :param amount_sat: Its value in satoshi.
    :param height: Height of its block; None in the mempool.
    :param block_hash: Hash of its block; None in the mempool.
    """

    txid: str
    index: int
    address: str
    amount_sat: int
    height: int | None
    block_hash: str | None

    @property
    def outpoint(self) -> Outpoint:
        """Its unique identifier on the chain."""
        return self.txid, self.index


@dataclass(frozen=True, slots=True)
class PaymentChanged(ConnectValue):
    """A reported payment that is now in a block, in another block, back in the mempool, or gone.

    :param before: As it was last reported.
    :param after: As it is now; None if it is neither in the chain nor in the mempool. If it returns, it is reported
        again as a :class:`Payment`.
    """

    before: Payment
    after: Payment | None

    @property
    def is_reorg(self) -> bool:
        """Whether its previous block is no longer part of the chain."""
        return self.before.height is not None


PaymentEvent: TypeAlias = Payment | PaymentChanged


class ReportedPayments:
    """The payments already reported, as far back as they may still change.

    :param from_height: Height of the first block to count. Payments below are not kept.
    :param parent_hash: Hash of the block below ``from_height``; None if nothing was reported up to there.
    :param payments: The payments.
    """

    def __init__(
        self, from_height: int, parent_hash: str | None = None, payments: Iterable[Payment] = ()
    ) -> None:
        self.from_height = from_height
        self.parent_hash = parent_hash
        self._payments = {payment.outpoint: payment for payment in payments}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Restore what :meth:`to_json` returned.

        :raises BloqConfigurationError: It is something else.
        """
        try:
            payments = [Payment(**one) for one in fields["payments"]]
            return cls(int(fields["from_height"]), fields["parent_hash"], payments)
        except (TypeError, ValueError, KeyError):
            raise BloqConfigurationError.of(
                "since", "it is not a cursor of payments()", "Pass such a cursor, or a height."
            ) from None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON, to continue from later."""
        payments = [asdict(payment) for payment in self._payments.values()]
        return {"from_height": self.from_height, "parent_hash": self.parent_hash, "payments": payments}

    def __len__(self) -> int:
        return len(self._payments)

    def changes(self, payments: Iterable[Payment]) -> list[PaymentEvent]:
        """Return the events to report, given the current state of payments.

        :param payments: The payments, each once and in the order to report them in.
        """
        return [event for payment in payments if (event := self._change(payment)) is not None]

    def missing(self, payments: Iterable[Payment]) -> list[str]:
        """Return the ids of reported transactions that have no payment among these.

        :param payments: All payments from ``from_height`` on.
        """
        present = {payment.outpoint for payment in payments}
        return list(dict.fromkeys(txid for txid, index in self._payments if (txid, index) not in present))

    def changes_without(self, txid: str) -> list[PaymentEvent]:
        """Return the events to report for a transaction that is neither in the chain nor in the mempool."""
        return [PaymentChanged(known, None) for known in self._payments.values() if known.txid == txid]

    def add(self, event: PaymentEvent) -> None:
        """Record that an event was reported."""
        payment = event if isinstance(event, Payment) else event.after
        if payment is not None:
            self._payments[payment.outpoint] = payment
        elif isinstance(event, PaymentChanged):
            self._payments.pop(event.before.outpoint, None)

    def drop_below(self, height: int, parent_hash: str) -> None:
        """Drop the payments that are deep enough to be final.

        :param height: Height of the first block to keep.
        :param parent_hash: Hash of the block below.
        """
        self.from_height, self.parent_hash = height, parent_hash
        self._payments = {
            outpoint: payment
            for outpoint, payment in self._payments.items()
            if payment.height is None or payment.height >= height
        }

    def _change(self, payment: Payment) -> PaymentEvent | None:
        known = self._payments.get(payment.outpoint)
        if known is None:
            return payment if payment.height is None or payment.height >= self.from_height else None
        unchanged = (known.height, known.block_hash) == (payment.height, payment.block_hash)
        return None if unchanged else PaymentChanged(known, payment)


def payments_in(transactions: Iterable[Transaction], addresses: Sequence[str]) -> Iterator[Payment]:
    """Find the outputs of transactions that pay addresses; each once, oldest first.

    :param transactions: The transactions, newest first. If one is listed several times, the last entry counts.
    :param addresses: The addresses.
    """
    latest = {transaction.txid: transaction for transaction in transactions}
    oldest_first = list(latest.values())[::-1]
    # Those in the mempool are the newest.
    oldest_first.sort(key=lambda one: float("inf") if one.height is None else one.height)
    for transaction in oldest_first:
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


@dataclass(frozen=True, slots=True)
class PaymentSnapshot:
    """The result of a poll.

    :param events: The events to report, oldest first.
    :param final_below: Height below which payments are final once the events have been reported; None to keep all.
    :param parent_hash: Hash of the block below that height.
    """

    events: list[PaymentEvent]
    final_below: int | None = None
    parent_hash: str = ""


def poll_payments(
    api: ConnectApi, reported: ReportedPayments, addresses: Sequence[str], depth: int
) -> Flow[PaymentSnapshot]:
    """Read the current payments and compare them with those already reported; a flow.

    :param api: Connect.
    :param reported: The payments already reported.
    :param addresses: The addresses.
    :param depth: Number of blocks on top at which a payment is final.
    :raises BloqReorg: A reorg was deeper than that.
    :raises BloqListShifted: The list of transactions changed during each of several attempts.
    """
    # Read first: blocks added meanwhile are above what is considered final here.
    height = yield from indexed_height(api)
    below = reported.from_height - 1
    if reported.parent_hash is not None and (yield from hash_at(api, below)) != reported.parent_hash:
        raise BloqReorg(below, height)
    listed = yield from transactions_since(api, addresses, reported.from_height)
    payments = list(payments_in(listed, addresses))
    events = reported.changes(payments)
    for txid in reported.missing(payments):
        # A transaction may have moved within the list while it was read.
        events += yield from poll_transaction(api, reported, addresses, txid)
    final_below = height - depth + 1
    if final_below <= reported.from_height:
        return PaymentSnapshot(events)
    parent_hash = yield from hash_at(api, final_below - 1)
    return (
        PaymentSnapshot(events) if parent_hash is None else PaymentSnapshot(events, final_below, parent_hash)
    )


def poll_transaction(
    api: ConnectApi, reported: ReportedPayments, addresses: Sequence[str], txid: str
) -> Flow[list[PaymentEvent]]:
    """Read one transaction and return the events to report; a flow. Parameters as for :func:`poll_payments`.

    :param txid: Id of the transaction.
    """
    try:
        transaction = yield from ConnectApi.transaction.flow(api, txid)
    except BloqNotFound:
        return reported.changes_without(txid)
    return reported.changes(payments_in([transaction], addresses))


class PaymentFeed:
    """An async iterator over the events of payments, returned by ``payments()`` of an async Connect client.

    Use it in ``async with``. It never ends by itself. If a step is cancelled, the next one continues without loss.

    :param client: Reads over REST.
    :param stream: Announces blocks and transactions.
    :param addresses: The addresses.
    :param reported: The payments already reported; None to begin with the next block.
    :param depth: Number of blocks on top at which a payment is final and forgotten.
    :param interval: Seconds after which it polls even if the stream announces nothing.
    :param backoff: Pauses after failed polls.
    :param sleep: Waits a number of seconds.
    :param random: Returns a number from 0 to 1, for the jitter.
    """

    def __init__(
        self,
        client: AsyncConnectClient,
        stream: ReconnectingStream,
        addresses: tuple[str, ...],
        reported: ReportedPayments | None,
        *,
        depth: int,
        interval: float,
        backoff: BackoffSettings = POLL_BACKOFF,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._stream = stream
        self._addresses = addresses
        self._reported = reported
        self._depth = depth
        self._interval = interval
        self._backoff = backoff
        self._sleep = sleep
        self._random = random
        self._exit = AsyncExitStack()
        self._wake = asyncio.Event()
        #: Found, but not yet reported.
        self._pending: deque[PaymentEvent] = deque()
        #: Arguments of ``drop_below``, due when all pending events have been reported.
        self._final: tuple[int, str] | None = None
        #: Ids that the stream announced and that have not been read yet, in order.
        self._announced: dict[str, None] = {}
        self._next_poll = float("-inf")

    @property
    def cursor(self) -> dict[str, Any]:
        """The events returned so far, as JSON: pass it as ``since`` to continue after the last one.

        :raises RuntimeError: The feed was not entered yet.
        """
        return self._entered.to_json()

    async def __aenter__(self) -> Self:
        if self._reported is None:
            self._reported = ReportedPayments(await self._client.run(indexed_height(self._client)) + 1)
        await self._exit.enter_async_context(self._stream.listening(self, subscriptions(self._addresses)))
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._exit.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PaymentEvent:
        while not self._pending:
            await self._wait_until_due()
            await self._find()
        event = self._pending.popleft()
        self._entered.add(event)
        self._drop_final()
        return event

    def on_joined(self) -> None:
        self._poll_soon()

    def on_event(self, event: StreamEvent) -> None:
        txid = txid_in(event)
        if txid is not None:
            self._announced[txid] = None
            self._wake.set()
        elif is_block(event):
            self._poll_soon()

    @property
    def _entered(self) -> ReportedPayments:
        if self._reported is None:
            raise RuntimeError("the feed was not entered: use it in async with")
        return self._reported

    def _poll_soon(self) -> None:
        self._next_poll = float("-inf")
        self._wake.set()

    async def _wait_until_due(self) -> None:
        remaining = self._next_poll - asyncio.get_running_loop().time()
        if self._announced or remaining <= 0:
            return
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(remaining):
                await self._wake.wait()

    async def _find(self) -> None:
        """Poll, or read one announced transaction; repeat if that fails."""
        failures = 0
        while True:
            try:
                return await self._poll_or_read()
            except BloqReorg:
                raise
            except Exception as error:
                failures += 1
                advice = advice_on(error, failures, self._random(), self._backoff)
                if advice is None or advice.pause is None:
                    raise
                log.warning("Polling for payments failed. Next attempt in %.0f s: %s", advice.pause, error)
                await self._sleep(advice.pause)

    async def _poll_or_read(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next_poll:
            await self._poll(now)
        elif self._announced:
            txid = next(iter(self._announced))
            reading = poll_transaction(self._client, self._entered, self._addresses, txid)
            self._pending.extend(await self._client.run(reading))
            del self._announced[txid]

    async def _poll(self, now: float) -> None:
        due_before = self._next_poll
        # Set before the poll: an event during the poll may call for another one.
        self._next_poll = now + self._interval
        try:
            snapshot = await self._client.run(
                poll_payments(self._client, self._entered, self._addresses, self._depth)
            )
        except BaseException:
            self._next_poll = due_before
            raise
        self._pending.extend(snapshot.events)
        self._final = None if snapshot.final_below is None else (snapshot.final_below, snapshot.parent_hash)
        self._drop_final()

    def _drop_final(self) -> None:
        if self._final is not None and not self._pending:
            self._entered.drop_below(*self._final)
            self._final = None
