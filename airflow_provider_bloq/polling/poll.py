"""Which failures of a look may pass, and how long to let a service be after one."""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.exceptions import BloqError, BloqRateLimited
from airflow_provider_bloq.flow.backoff import BackoffSettings, advice_on
from airflow_provider_bloq.polling.conditions import Condition, Failed, Memory, Verdict, Waiting

if TYPE_CHECKING:
    from airflow_provider_bloq.connect.stream import ChainUpdates
    from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook

__all__ = [
    "ASKED",
    "DEFAULT_PATIENCE",
    "FailureBudget",
    "Poll",
    "PollResult",
    "PushListener",
    "Subscription",
    "SupportsPush",
    "WaiterQueue",
    "is_transient",
    "pause_after",
]


#: The pause after one failure is half a second to one; it doubles, up to a minute. Where the service asks for
#: more, it gets up to an hour.
BACKOFF = BackoffSettings(first=1.0, cap=60.0, max_retry_after=3600.0)


def is_transient(error: BaseException) -> bool:
    """Tell whether another look may succeed with nothing changed by hand, as for the retry of a task."""
    if not isinstance(error, BloqError):
        return False
    advice = advice_on(error, 1, 0.0, BACKOFF)
    return advice is None or advice.pause is not None


def pause_after(failures: int, error: BaseException, *, random: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after a failure. Never 0, so that no failure makes a busy loop.

    :param failures: How many there were in a row, with this one.
    :param error: What the latest of them was.
    :param random: Gives a number from 0 to 1, for the jitter.
    """
    jitter = random()
    pause = BACKOFF.pause(failures, jitter)
    told = error.retry_after if isinstance(error, BloqRateLimited) else None
    return pause if told is None else max(pause, BACKOFF.retry_pause(told, jitter))


#: Failed looks in a row that are borne, unless another number is given. Each of them has already been
#: tried several times by the client.
DEFAULT_PATIENCE = 5
#: What is still missing where it may not be looked.
ASKED = "the service asked for fewer requests"


class FailureBudget:
    """One wait, from look to look.

    :param condition: What is waited for.
    :param memory: What is remembered from before, if anything.
    :param failures: How many of the latest looks failed.
    :param patience: How many may fail in a row; one more ends the wait.
    """

    def __init__(
        self,
        condition: Condition,
        memory: Memory | None = None,
        *,
        failures: int = 0,
        patience: int = DEFAULT_PATIENCE,
    ) -> None:
        self.condition = condition
        self.memory = memory
        self.failures = failures
        self.patience = patience
        #: What is still missing, for a person.
        self.reason = "nothing was seen yet"
        #: Seconds to let the service be after the latest look, if that failed.
        self.pause = 0.0
        #: Those of them that the service has asked for: no hurry is a reason to look sooner.
        self.asked = 0.0

    def saw(self, seen: Any) -> Verdict:
        """Judge what a look gave."""
        verdict = self.condition.judge(seen, self.memory)
        self.failures = 0
        self.pause = self.asked = 0.0
        if isinstance(verdict, Waiting):
            self.memory = verdict.memory
            self.reason = verdict.reason
        return verdict

    def missed(self, error: BloqError) -> Waiting | Failed:
        """Judge a look that failed: whether the next one may still succeed."""
        self.failures += 1
        self.pause = pause_after(self.failures, error)
        is_told = isinstance(error, BloqRateLimited) and error.retry_after is not None
        self.asked = self.pause if is_told else 0.0
        if not is_transient(error) or self.failures > self.patience:
            return Failed(error)
        self.reason = f"{self.failures} of at most {self.patience} looks in a row failed: {error}"
        return Waiting(self.reason, self.memory)


#: How many are woken before the event loop may turn to others: a thousand who all go to work at once
#: would hold it up.
WOKEN_AT_ONCE = 25


class WaiterQueue:
    """Lets tasks of one event loop wait until it is told that there is news."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait for the next :meth:`wake`."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(woken)
        await woken

    async def wake(self) -> None:
        """Wake all who wait now, in the order in which they came."""
        waiting, self._waiting = self._waiting, []
        for number, woken in enumerate(waiting, start=1):
            # Whoever was cancelled has left its place here behind.
            if not woken.done():
                woken.set_result(None)
            if number % WOKEN_AT_ONCE == 0:
                await asyncio.sleep(0)


#: The shortest interval between two looks, in seconds: a sensor may say 0, which would be a busy loop.
SHORTEST_INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class PollResult:
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


class Subscription:
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
        self._seats: set[Subscription] = set()
        self._stirred = asyncio.Event()
        self._is_hurried = False
        self._failures = 0
        self._not_before = 0.0
        self._task: asyncio.Task[None] | None = None
        #: What the latest look gave.
        self.latest: PollResult | None = None
        #: Where the waiters wait for the next.
        self.news = WaiterQueue()
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

    def join(self, interval: float, interest: Hashable | None = None) -> Subscription:
        """Take a seat; the first one sets the poll going.

        :param interval: Seconds between two looks that it wants at most.
        :param interest: What the looks must ask for on its behalf.
        """
        seat = Subscription(self, interval, interest)
        self._seats.add(seat)
        self._stirred.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return seat

    def leave(self, seat: Subscription) -> None:
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

    def known_to_a_newcomer(self, seat: Subscription) -> int:
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
            if self.latest.error is not None and not is_transient(self.latest.error):
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

    async def _looked(self) -> PollResult:
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
        look = PollResult(number, asyncio.get_running_loop().time(), interests, seen, failure)
        if failure is None:
            self._failures = 0
        else:
            self._failures += 1
            self._not_before = look.ended + pause_after(self._failures, failure)
        return look


log = logging.getLogger(__name__)


class SupportsPush(ABC):
    """A target of which news are announced. What there is, only a look tells; the news only say when."""

    __slots__ = ()

    @abstractmethod
    def news(self, hook: BloqAsyncHook) -> ChainUpdates | None:
        """Return what announces them, not opened yet; None if nothing should.

        :param hook: The hook by which the target is looked at.
        """


class PushListener:
    """Has a poll look whenever there are news, besides its intervals; from now until :meth:`end`.

    :param news: What announces them.
    :param poll: The poll.
    """

    def __init__(self, news: ChainUpdates, poll: Poll) -> None:
        self._news = news
        self._poll = poll
        self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Listen no more."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            async with self._news:
                while True:
                    await self._news.wait(None)
                    self._poll.hasten()
        except Exception:
            # Nothing depends on news alone: the poll goes on at its interval.
            log.exception("News are not heard any more: what is new is seen at the next interval.")
