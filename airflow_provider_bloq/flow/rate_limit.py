"""The rate limit of one connection in one process; also honours the pauses that services ask for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from airflow_provider_bloq.exceptions import BloqRateLimited
from airflow_provider_bloq.flow.effects import Flow, FlowSteps, Response, Send, emit, sleep
from airflow_provider_bloq.flow.events import held_back
from airflow_provider_bloq.flow.retry import retry_after

__all__ = [
    "LONGEST_HOLD",
    "RateLimiter",
    "RateLimiters",
    "shared_rate_limiters",
]


T = TypeVar("T")

#: The longest that a request is held back because a service asks for it, in seconds. A longer pause is an error at
#: once: it costs less to defer or retry the task than to block a worker.
LONGEST_HOLD = 120.0


class RateLimiter:
    """A token bucket with a capacity of one second's requests, at least one.

    Safe for threads and tasks: a request reserves its time under a lock and then sleeps until that time.

    :param requests_per_second: The rate.
    :param clock: Monotonic clock, in seconds.
    """

    def __init__(self, requests_per_second: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1.0 / requests_per_second
        self._slack = max(1.0, requests_per_second) * self._interval
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Start again with a full bucket and an unlocked lock. For a forked child."""
        self._lock = threading.RLock()
        #: When the bucket would be full again; moved ahead by each reservation.
        self._full_at = float("-inf")
        self._held_until = float("-inf")

    def admit(self) -> Flow[None]:
        """Wait until a request may be sent.

        :raises BloqRateLimited: A service asked for a pause longer than a worker should wait.
        """
        waited, by_service = 0.0, False
        while True:
            at = self._reserve()
            pause = at - self._clock()
            if pause > 0:
                by_service = by_service or self._held_until > self._clock()
                yield from sleep(pause)
                waited += pause
            # A service may have asked for a longer pause meanwhile; then the request queues again.
            if self._clock() >= self._held_until:
                break
        if waited:
            yield from emit(held_back(waited, by_service=by_service))

    def note(self, response: Response) -> None:
        """Hold back all requests for the Retry-After of a 429.

        :param response: Any response.
        """
        pause = retry_after(response) if response.status == 429 else None
        if pause is not None:
            with self._lock:
                self._held_until = max(self._held_until, self._clock() + pause)

    def over(self, flow: Flow[T]) -> Flow[T]:
        """Run a flow with each of its requests admitted and each response noted; a flow.

        Requests for tokens, which run as shared calls, are not held back: many callers wait for them.
        """
        with FlowSteps(flow) as steps:
            for effect in steps:
                try:
                    if isinstance(effect, Send):
                        yield from self.admit()
                    steps.answer = yield effect
                    if isinstance(steps.answer, Response):
                        self.note(steps.answer)
                except Exception as error:
                    steps.failure = error
            return steps.result

    def _reserve(self) -> float:
        with self._lock:
            now = self._clock()
            held = self._held_until - now
            if held > LONGEST_HOLD:
                raise BloqRateLimited(
                    f"Bloq asked for no requests for another {held:.0f} s; this one was not sent.",
                    retry_after=held,
                )
            earliest = max(now, self._held_until)
            self._full_at = max(self._full_at, earliest) + self._interval
            return max(earliest, self._full_at - self._slack)


class RateLimiters:
    """The rate limiters of this process by connection, so that all hooks of a connection share one."""

    def __init__(self) -> None:
        self._limiters: dict[tuple[str, float], RateLimiter] = {}
        self._lock = threading.Lock()

    def forget(self) -> None:
        """Become empty, and reset the limiters in use. For a forked child, which sends its own requests."""
        self._lock = threading.Lock()
        for limiter in self._limiters.values():
            limiter.forget()
        self._limiters.clear()

    def of(self, conn_id: str, requests_per_second: float) -> RateLimiter:
        """Return the rate limiter of a connection.

        :param conn_id: Its id.
        :param requests_per_second: Its current rate.
        """
        with self._lock:
            return self._limiters.setdefault((conn_id, requests_per_second), RateLimiter(requests_per_second))


shared_rate_limiters = RateLimiters()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=shared_rate_limiters.forget)
