"""When a request is sent again, and how many requests are sent per second."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TypeVar

from airflow_provider_bloq.exceptions import BloqRateLimited, BloqUnavailable
from airflow_provider_bloq.flow.backoff import exponential
from airflow_provider_bloq.flow.effects import Flow, FlowSteps, Request, Response, Send, emit, send, sleep
from airflow_provider_bloq.flow.events import held_back

__all__ = [
    "LONGEST_HOLD",
    "NO_RETRIES",
    "TRANSIENT",
    "RateLimiter",
    "RateLimiters",
    "RetryPolicy",
    "http_date",
    "retry_after",
    "sent_with_retries",
    "shared_rate_limiters",
]


#: The gateway in front of a service failed, or the service is going up or down.
TRANSIENT = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is repeated, and after which pauses.

    :param attempts: How often it is sent at most.
    :param base: Upper bound of the first pause in seconds; it doubles with each attempt.
    :param cap: Upper bound of any pause, in seconds.
    :param max_retry_after: The longest Retry-After that is waited for here, in seconds. A longer one is left to
        the caller, who can free the worker meanwhile.
    :param random: Returns a number from 0 to 1: the full jitter.
    """

    attempts: int = 5
    base: float = 0.5
    cap: float = 20.0
    max_retry_after: float = 120.0
    random: Callable[[], float] = random.random

    def pause(self, attempts: int, retry_after: float | None) -> float | None:
        """Return the seconds to wait before the next attempt; None if there should be none.

        :param attempts: How many attempts were made.
        :param retry_after: The service's Retry-After, in seconds.
        """
        if attempts >= self.attempts or (retry_after is not None and retry_after > self.max_retry_after):
            return None
        backoff = self.random() * exponential(self.base, self.cap, attempts)
        # At least what the service asks for; the jitter keeps all callers from returning at once.
        return backoff if retry_after is None else retry_after + min(backoff, 1.0)


NO_RETRIES = RetryPolicy(attempts=1)


def sent_with_retries(
    request: Request,
    policy: RetryPolicy,
    *,
    idempotent: bool,
    before_each: Callable[[], Flow[None]] | None = None,
    transient: Collection[int] = TRANSIENT,
) -> Flow[Response]:
    """Send a request, and again after a temporary failure.

    :param request: The request.
    :param policy: How often and when to send it again.
    :param idempotent: Whether it may be sent again although the service may have acted on it. One
        that surely was not acted on (no connection, 429) always may.
    :param before_each: Returns a flow to run right before each attempt.
    :param transient: Statuses after which an idempotent request is sent again.
    :return: The last response, which may still be a 429 or 5xx.
    :raises BloqUnavailable: There was no response.
    """
    attempts = 0
    while True:
        attempts += 1
        if before_each is not None:
            yield from before_each()
        pause = None
        try:
            response = yield from send(request)
        except BloqUnavailable as failure:
            if idempotent or not failure.acted:
                pause = policy.pause(attempts, None)
            if pause is None:
                raise
        else:
            if response.status == 429 or (idempotent and response.status in transient):
                pause = policy.pause(attempts, retry_after(response))
            if pause is None:
                return response
            if response.status == 429:
                yield from emit(held_back(pause, by_service=True))
        yield from sleep(pause)


def retry_after(response: Response) -> float | None:
    """Return the seconds that a response asks to wait by ``Retry-After``; None if it has no readable one.

    A date is measured from the response's own ``Date``, since this machine's clock may be wrong.
    """
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), 1e9)
    until = http_date(value)
    if until is None:
        return None
    served = http_date(response.headers.get("date", ""))
    return max(0.0, until - (served if served is not None else time.time()))


def http_date(value: str) -> float | None:
    """Return an HTTP date in epoch seconds; None if it cannot be read."""
    try:
        date = parsedate_to_datetime(value)
        # The oldest form names no time zone; it is UTC.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


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
