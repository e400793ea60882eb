"""One poll for many waiters: when it polls, who gets the result, and which failures a wait tolerates."""

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
    "DEFAULT_MAX_FAILURES",
    "MIN_INTERVAL",
    "PAUSE_REQUESTED",
    "FailureBudget",
    "Poll",
    "PushListener",
    "Subscription",
    "SupportsPush",
    "WaiterQueue",
    "is_transient",
    "pause_after",
]

log = logging.getLogger(__name__)

#: Pauses between failed polls, in seconds.
BACKOFF = BackoffSettings(first=1.0, cap=60.0, max_retry_after=3600.0)
#: Consecutive failed polls that are tolerated by default. The client has retried each of them already.
DEFAULT_MAX_FAILURES = 5
#: Why a wait does not poll during a pause that the service asked for.
PAUSE_REQUESTED = "the service asked for a pause"
#: The shortest interval between two polls in seconds. A sensor's ``poke_interval`` may be 0.
MIN_INTERVAL = 0.1
#: Waiters woken at once. A thousand would block the event loop.
WAKE_BATCH = 25


def is_transient(error: BaseException) -> bool:
    """Return whether another poll may succeed, by the same rules as the retry of a task."""
    if not isinstance(error, BloqError):
        return False
    advice = advice_on(error, 1, 0.0, BACKOFF)
    return advice is None or advice.pause is not None


def pause_after(failures: int, error: BaseException, *, random: Callable[[], float] = random.random) -> float:
    """Return the seconds to pause after a failure; never 0.

    :param failures: Number of consecutive failures, including this one.
    :param error: The latest of them.
    :param random: Returns a number from 0 to 1, for the jitter.
    """
    jitter = random()
    pause = BACKOFF.pause(failures, jitter)
    if isinstance(error, BloqRateLimited) and error.retry_after is not None:
        return max(pause, BACKOFF.retry_pause(error.retry_after, jitter))
    return pause


class FailureBudget:
    """Judges the polls of one wait, and tolerates a limited number of consecutive failures.

    :param condition: What is waited for.
    :param memory: The memory of an earlier verdict, if there was one.
    :param failures: Consecutive failures so far.
    :param max_failures: Consecutive failures to tolerate; one more ends the wait.
    """

    def __init__(
        self,
        condition: Condition,
        memory: Memory | None = None,
        *,
        failures: int = 0,
        max_failures: int = DEFAULT_MAX_FAILURES,
    ) -> None:
        self.condition = condition
        self.memory = memory
        self.failures = failures
        self.max_failures = max_failures
        #: What is still missing, for logs.
        self.reason = "not polled yet"
        #: Seconds to pause after the latest poll if it failed.
        self.pause = 0.0
        #: The same if the service asked for the pause, else 0.
        self.retry_after = 0.0

    def succeeded(self, seen: Any) -> Verdict:
        """Judge what a poll returned."""
        verdict = self.condition.judge(seen, self.memory)
        self.failures = 0
        self.pause = self.retry_after = 0.0
        if isinstance(verdict, Waiting):
            self.memory = verdict.memory
            self.reason = verdict.reason
        return verdict

    def failed(self, error: BloqError) -> Waiting | Failed:
        """Judge a failed poll: whether to go on waiting."""
        self.failures += 1
        self.pause = pause_after(self.failures, error)
        is_asked_for = isinstance(error, BloqRateLimited) and error.retry_after is not None
        self.retry_after = self.pause if is_asked_for else 0.0
        if not is_transient(error) or self.failures > self.max_failures:
            return Failed(error)
        self.reason = f"consecutive failed polls: {self.failures}; the latest: {error}"
        return Waiting(self.reason, self.memory)


class WaiterQueue:
    """Wakes waiters in batches so that the event loop is not blocked."""

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait for the next :meth:`wake`."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(woken)
        await woken

    async def wake(self) -> None:
        """Wake all current waiters in order of arrival."""
        waiters, self._waiters = self._waiters, []
        for number, woken in enumerate(waiters, start=1):
            # A cancelled waiter leaves its future behind.
            if not woken.done():
                woken.set_result(None)
            if number % WAKE_BATCH == 0:
                await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class PollResult:
    """What one poll returned, or its error.

    :param number: Its number, from 1.
    :param finished_at: When it finished, on the event loop's clock.
    :param interests: What it asked for.
    :param seen: What the target's poll function returned.
    :param error: Why it failed.
    """

    number: int
    finished_at: float
    interests: frozenset[Hashable]
    seen: Any = None
    error: BaseException | None = None

    def covers(self, interest: Hashable | None) -> bool:
        """Return whether it concerns a waiter with this interest. A failure concerns all waiters."""
        return self.error is not None or interest is None or interest in self.interests


class Subscription:
    """One waiter's subscription to a poll.

    :param poll: The poll.
    :param interval: Seconds between polls.
    :param interest: What the polls must ask for on the waiter's behalf.
    """

    def __init__(self, poll: Poll, interval: float, interest: Hashable | None) -> None:
        self.interval = max(interval, MIN_INTERVAL)
        self.interest = interest
        self._poll = poll
        self._last_number = poll.last_number_before(self)

    async def result(self) -> Any:
        """Wait for the next poll that covers the interest, and return what it saw.

        :raises BaseException: The poll failed; every waiter gets the same error.
        """
        while True:
            latest = self._poll.latest
            if latest is not None and (latest.number > self._last_number or self._poll.is_over):
                self._last_number = latest.number
                if latest.error is not None:
                    # Without the traceback, to which each waiter that raises the error would add its frames.
                    raise latest.error.with_traceback(None)
                if latest.covers(self.interest):
                    return latest.seen
            await self._poll.results.wait()


class Poll:
    """Polls at the shortest interval among its subscribers, for the interests of all of them.

    It runs from the first :meth:`subscribe` until the last subscriber leaves or an error is not transient.

    :param poll_once: Polls once, for these interests.
    :param when_ready: Awaited before the first poll, so that all waiters about to subscribe are included.
    """

    def __init__(
        self,
        poll_once: Callable[[frozenset[Hashable]], Awaitable[Any]],
        when_ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._poll_once = poll_once
        self._when_ready = when_ready
        self._subscriptions: set[Subscription] = set()
        #: Set when the next poll may be due earlier than before.
        self._rescheduled = asyncio.Event()
        self._is_requested = False
        self._failures = 0
        self._not_before = 0.0
        self._task: asyncio.Task[None] | None = None
        #: The latest result.
        self.latest: PollResult | None = None
        #: Wakes the subscribers at each result.
        self.results = WaiterQueue()
        #: Whether there will be no further poll.
        self.is_over = False

    @property
    def subscribers(self) -> int:
        """Number of subscribers."""
        return len(self._subscriptions)

    def subscribe(self, interval: float, interest: Hashable | None = None) -> Subscription:
        """Subscribe; the first subscription starts the poll.

        :param interval: Longest time between two polls in seconds.
        :param interest: What the polls must ask for.
        """
        subscription = Subscription(self, interval, interest)
        self._subscriptions.add(subscription)
        self._rescheduled.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription; with the last one the poll is over."""
        self._subscriptions.discard(subscription)
        if not self._subscriptions:
            self.is_over = True

    def poll_soon(self) -> None:
        """Poll without waiting for the interval. A pause after a failure is not cut short."""
        self._is_requested = True
        self._rescheduled.set()

    async def stop(self) -> None:
        """Stop, even in the middle of a poll."""
        self.is_over = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def last_number_before(self, subscription: Subscription) -> int:
        """Return the number of the poll after which results are new to a new subscriber.

        It gets the latest result at once if that covers its interest and is no older than its interval.
        """
        latest = self.latest
        if latest is None:
            return 0
        age = asyncio.get_running_loop().time() - latest.finished_at
        is_recent = (
            latest.error is None and latest.covers(subscription.interest) and age <= subscription.interval
        )
        return latest.number - 1 if is_recent else latest.number

    async def _run(self) -> None:
        if self._when_ready is not None:
            await self._when_ready()
        while True:
            await self._until_due()
            if self.is_over:
                return
            self.latest = await self._next_result()
            if self.latest.error is not None and not is_transient(self.latest.error):
                self.is_over = True
            await self.results.wake()

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.is_over and (remaining := self._due_at - loop.time()) > 0:
            self._rescheduled.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(remaining):
                    await self._rescheduled.wait()

    @property
    def _due_at(self) -> float:
        if self.latest is None:
            return 0.0
        interval = MIN_INTERVAL if self._is_requested else min(one.interval for one in self._subscriptions)
        return max(self.latest.finished_at + interval, self._not_before)

    async def _next_result(self) -> PollResult:
        interests = frozenset(one.interest for one in self._subscriptions if one.interest is not None)
        # A request from now on may be too late for this poll.
        self._is_requested = False
        seen: Any = None
        failure: BaseException | None = None
        try:
            seen = await self._poll_once(interests)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # Some of Airflow's errors do not derive from Exception. Every error must reach the waiters.
            failure = error
        number = self.latest.number + 1 if self.latest else 1
        result = PollResult(number, asyncio.get_running_loop().time(), interests, seen, failure)
        if failure is None:
            self._failures = 0
        else:
            self._failures += 1
            self._not_before = result.finished_at + pause_after(self._failures, failure)
        return result


class SupportsPush(ABC):
    """A target whose service pushes updates. They only say when to poll."""

    __slots__ = ()

    @abstractmethod
    def updates(self, hook: BloqAsyncHook) -> ChainUpdates | None:
        """Return the updates, not opened yet; None to poll at intervals only.

        :param hook: The hook that polls the target.
        """


class PushListener:
    """Requests a poll at each update, until :meth:`stop`.

    :param updates: The updates.
    :param poll: The poll.
    """

    def __init__(self, updates: ChainUpdates, poll: Poll) -> None:
        self._updates = updates
        self._poll = poll
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop listening."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            async with self._updates:
                while True:
                    await self._updates.wait(None)
                    self._poll.poll_soon()
        except Exception:
            # The poll goes on at its interval.
            log.exception("Updates are no longer received. New blocks are seen at the next interval.")
