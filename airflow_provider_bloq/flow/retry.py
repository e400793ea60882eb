"""When a request is sent again, and after how long; reading of ``Retry-After`` and HTTP dates."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from airflow_provider_bloq.exceptions import BloqUnavailable
from airflow_provider_bloq.flow.backoff import exponential
from airflow_provider_bloq.flow.effects import Flow, Request, Response, emit, send, sleep
from airflow_provider_bloq.flow.events import held_back

__all__ = [
    "NO_RETRIES",
    "TRANSIENT",
    "RetryPolicy",
    "http_date",
    "retry_after",
    "sent_with_retries",
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
