"""One poll for all that wait for the same thing: they sit down, it looks, and each gets what was seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.triggers.crowd import Crowd
from airflow_provider_bloq.triggers.pauses import may_pass, pause_after

__all__ = ["Look", "Poll", "Seat"]

#: The shortest interval between two looks, in seconds: a sensor may say 0, which would be a busy loop.
SHORTEST_INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class Look:
    """What one look gave: something seen, or an error.

    :param number: Which one it was, from 1 on.
    :param ended: When it ended, on the event loop's clock.
    :param interests: What it asked for.
    :param seen: What the target's observer gave.
    :param error: Why nothing was seen.
    """

    number: int
    ended: float
    interests: frozenset[Hashable]
    seen: Any = None
    error: BaseException | None = None

    def answers(self, interest: Hashable | None) -> bool:
        """Tell whether it says anything to whoever has this interest. A failure concerns all."""
        return self.error is not None or interest is None or interest in self.interests


class Seat:
    """The place of one waiter at a poll.

    :param poll: The poll.
    :param interval: Seconds after which it wants the next look.
    :param interest: What the look must ask for on its behalf.
    """

    def __init__(self, poll: Poll, interval: float, interest: Hashable | None) -> None:
        self.poll = poll
        self.interval = max(interval, SHORTEST_INTERVAL)
        self.interest = interest
        self._known = poll.known_to_a_newcomer(self)

    async def look(self) -> Any:
        """Wait for the next look that answers to its interest.

        :return: What was seen.
        :raises BaseException: The look failed; the same error is raised for every waiter.
        """
        while True:
            latest = self.poll.latest
            if latest is not None and (latest.number > self._known or self.poll.is_over):
                self._known = latest.number
                if latest.error is not None:
                    # Else each waiter that raises it would add its own frames to those of the others.
                    raise latest.error.with_traceback(None)
                if latest.answers(self.interest):
                    return latest.seen
            await self.poll.news.wait()


class Poll:
    """Looks as often as the most eager of its waiters wants, and for the interests of all of them.

    It looks from the first :meth:`join` until the last one leaves, or to an error that no further look can
    mend. :meth:`end` ends what is then still under way.

    :param look: Looks once, for these interests.
    :param gathered: Awaited before the first look: returns when all have joined who are about to.
    """

    def __init__(
        self,
        look: Callable[[frozenset[Hashable]], Awaitable[Any]],
        gathered: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._look = look
        self._gathered = gathered
        self._seats: set[Seat] = set()
        self._stirred = asyncio.Event()
        self._is_hurried = False
        self._failures = 0
        self._not_before = 0.0
        self._task: asyncio.Task[None] | None = None
        #: What the latest look gave.
        self.latest: Look | None = None
        #: Where the waiters wait for the next.
        self.news = Crowd()
        #: Whether there will be no further look.
        self.is_over = False

    @property
    def is_deserted(self) -> bool:
        """Whether nobody waits any more."""
        return not self._seats

    @property
    def waiters(self) -> int:
        """How many wait at present."""
        return len(self._seats)

    def join(self, interval: float, interest: Hashable | None = None) -> Seat:
        """Take a seat; the first one sets the poll going.

        :param interval: Seconds between two looks that it wants at most.
        :param interest: What the looks must ask for on its behalf.
        """
        seat = Seat(self, interval, interest)
        self._seats.add(seat)
        self._stirred.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return seat

    def leave(self, seat: Seat) -> None:
        """Give up a seat."""
        self._seats.discard(seat)
        if not self._seats:
            self.is_over = True

    def hasten(self) -> None:
        """Look soon, whatever the interval: there is said to be something new."""
        self._is_hurried = True
        self._stirred.set()

    async def end(self) -> None:
        """Stop looking, also in the midst of a look."""
        self.is_over = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def known_to_a_newcomer(self, seat: Seat) -> int:
        """Return the number of the look after which news begin for a new waiter.

        The latest look is news if it is as recent as the waiter wants to have them, and answers to it.
        """
        latest = self.latest
        if latest is None:
            return 0
        age = asyncio.get_running_loop().time() - latest.ended
        is_news = latest.error is None and latest.answers(seat.interest) and age <= seat.interval
        return latest.number - 1 if is_news else latest.number

    async def _run(self) -> None:
        if self._gathered is not None:
            await self._gathered()
        while True:
            await self._until_due()
            if self.is_over:
                return
            self.latest = await self._looked()
            if self.latest.error is not None and not may_pass(self.latest.error):
                self.is_over = True
            await self.news.wake()

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.is_over and (remaining := self._due - loop.time()) > 0:
            # Whoever sits down meanwhile may want to see sooner, or news may come.
            self._stirred.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(remaining):
                    await self._stirred.wait()

    @property
    def _due(self) -> float:
        if self.latest is None:
            return 0.0
        interval = SHORTEST_INTERVAL if self._is_hurried else min(seat.interval for seat in self._seats)
        return max(self.latest.ended + interval, self._not_before)

    async def _looked(self) -> Look:
        interests = frozenset(seat.interest for seat in self._seats if seat.interest is not None)
        # What comes from now on may be too late for this look.
        self._is_hurried = False
        seen: Any = None
        failure: BaseException | None = None
        try:
            seen = await self._look(interests)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # Airflow has errors that are none of Exception. Whatever happened, nobody must be left waiting.
            failure = error
        number = self.latest.number + 1 if self.latest else 1
        look = Look(number, asyncio.get_running_loop().time(), interests, seen, failure)
        if failure is None:
            self._failures = 0
        else:
            self._failures += 1
            self._not_before = look.ended + pause_after(self._failures, failure)
        return look
