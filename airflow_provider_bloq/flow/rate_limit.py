"""Holds the requests of one connection and process back to a rate, and longer where a service asks for it."""

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

#: The longest that a request is held back because a service asked for it, in seconds; what asks for more
#: is an error at once, since a deferred or a later task waits for less money than a worker.
LONGEST_HOLD = 120.0


class RateLimiter:
    """A token bucket that holds one second's worth of requests, at least one.

    Thread and task safe: a request reserves its time under a lock and then sleeps until that comes.

    :param requests_per_second: The rate.
    :param clock: Monotonic clock, in seconds.
    """

    def __init__(self, requests_per_second: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1.0 / requests_per_second
        self._slack = max(1.0, requests_per_second) * self._interval
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Begin anew with an unlocked lock. For a forked child."""
        self._lock = threading.RLock()
        #: When the bucket would be full again: what comes at an even rate, reserved ahead.
        self._full_at = float("-inf")
        self._held_until = float("-inf")

    def admit(self) -> Flow[None]:
        """Wait until a request may go.

        :raises BloqRateLimited: A service asked for no requests for longer than a worker should wait.
        """
        waited, by_service = 0.0, False
        while True:
            at = self._reserve()
            pause = at - self._clock()
            if pause > 0:
                by_service = by_service or self._held_until > self._clock()
                yield from sleep(pause)
                waited += pause
            # A service may have asked for a longer pause meanwhile; those who slept queue up anew.
            if self._clock() >= self._held_until:
                break
        if waited:
            yield from emit(held_back(waited, by_service=by_service))

    def note(self, response: Response) -> None:
        """Let no request go for as long as a 429 asks for by its Retry-After.

        :param response: Any answer.
        """
        told = retry_after(response) if response.status == 429 else None
        if told is not None:
            with self._lock:
                self._held_until = max(self._held_until, self._clock() + told)

    def over(self, flow: Flow[T]) -> Flow[T]:
        """Run a flow with each of its requests admitted, and each answer noted.

        The requests of a flight, which are those for tokens, are not held back: they have a patience of
        their own, and everybody waits for them.

        :param flow: The flow.
        :return: What it returns.
        """
        with FlowSteps(flow) as steps:
            for effect in steps:
                try:
                    if isinstance(effect, Send):
                        yield from self.admit()
                    answer = steps.answer = yield effect
                    if isinstance(answer, Response):
                        self.note(answer)
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
    """The paces of this process by connection, so that all hooks of a connection keep one."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Become empty. For a forked child: its requests are its own. Paces that are in use begin anew."""
        for pace in getattr(self, "_paces", {}).values():
            pace.forget()
        self._lock = threading.Lock()
        self._paces: dict[tuple[str, float], RateLimiter] = {}

    def of(self, conn_id: str, requests_per_second: float) -> RateLimiter:
        """Return the pace of a connection.

        :param conn_id: Its id.
        :param requests_per_second: The rate that it names at present.
        """
        with self._lock:
            return self._paces.setdefault((conn_id, requests_per_second), RateLimiter(requests_per_second))


shared_rate_limiters = RateLimiters()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=shared_rate_limiters.forget)
