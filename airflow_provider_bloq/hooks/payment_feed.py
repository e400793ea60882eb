"""Payments to addresses as they come, each told once: by the stream, and over REST what the stream left out."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, Self

from airflow_provider_bloq.clients.connect import AsyncConnectClient
from airflow_provider_bloq.clients.payment_look import look_for_payments, look_up_payment, read_height
from airflow_provider_bloq.clients.payments import PaymentBook, PaymentEvent
from airflow_provider_bloq.clients.stream_events import is_block, subscriptions, txid_in
from airflow_provider_bloq.clients.stream_packets import Event
from airflow_provider_bloq.exceptions import BloqReorg
from airflow_provider_bloq.hooks.retry_advice import Pace, advice_on
from airflow_provider_bloq.hooks.stream_life import StreamLife

__all__ = ["LOOKING_AGAIN", "PaymentFeed"]

log = logging.getLogger(__name__)

#: After a failed look half a second to one passes until the next; it doubles, up to a minute.
LOOKING_AGAIN = Pace(first=1.0, cap=60.0)


class PaymentFeed:
    """An async iterator over what becomes of payments; made by ``payments()`` of an async Connect client.

    Use it in ``async with``. It never ends by itself. A step that is cancelled loses nothing: ask for the next.

    :param client: Reads over REST.
    :param life: Keeps it connected to the stream.
    :param addresses: Whose payments.
    :param book: What was told before; None to begin with what comes from now on.
    :param depth: How many blocks deep a payment is taken to be final, and forgotten.
    :param interval: Seconds after which it looks over REST although the stream gives no reason.
    :param pace: How patiently it looks again after a failure.
    :param sleep: Lets seconds pass before it does.
    :param random: Gives a number from 0 to 1, for the jitter.
    """

    def __init__(
        self,
        client: AsyncConnectClient,
        life: StreamLife,
        addresses: tuple[str, ...],
        book: PaymentBook | None,
        *,
        depth: int,
        interval: float,
        pace: Pace = LOOKING_AGAIN,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._life = life
        self._addresses = addresses
        self._book = book
        self._depth = depth
        self._interval = interval
        self._pace = pace
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

    def heard(self, event: Event) -> None:
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
                advice = advice_on(error, failures, self._random(), self._pace)
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
