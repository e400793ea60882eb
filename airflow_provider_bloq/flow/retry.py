"""When a request is sent again, and after how long."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from airflow_provider_bloq.exceptions import BloqUnavailable
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
    """How often and how patiently a request is repeated.

    :param attempts: How often it is sent at most.
    :param base: Upper bound of the first pause in seconds; it doubles with each attempt.
    :param cap: Upper bound of any pause, in seconds.
    :param max_retry_after: The longest Retry-After that is waited for here, in seconds. A longer one is
        for the caller, who can free the worker meanwhile.
    :param random: Gives a number from 0 to 1: the full jitter.
    """

    attempts: int = 5
    base: float = 0.5
    cap: float = 20.0
    max_retry_after: float = 120.0
    random: Callable[[], float] = random.random

    def pause(self, attempt: int, told: float | None) -> float | None:
        """Return the seconds to wait before the next attempt; None where there should be none.

        :param attempt: How many attempts were made.
        :param told: What the service said by Retry-After, in seconds.
        """
        if attempt >= self.attempts or (told is not None and told > self.max_retry_after):
            return None
        backoff = self.random() * min(self.cap, self.base * 2.0 ** (attempt - 1))
        # The service's word is the least; the jitter on top keeps its callers from returning as one.
        return backoff if told is None else told + min(backoff, 1.0)


#: One attempt and no pause.
NO_RETRIES = RetryPolicy(attempts=1)


def sent_with_retries(
    request: Request,
    policy: RetryPolicy,
    *,
    idempotent: bool,
    before_each: Callable[[], Flow[None]] | None = None,
    transient: Collection[int] = TRANSIENT,
) -> Flow[Response]:
    """Send a request until an answer comes that stands.

    :param request: The request.
    :param policy: How patiently.
    :param idempotent: Whether it may be sent again although the service may have acted on it. One
        that surely was not acted on (no connection, 429) always may.
    :param before_each: Makes a flow to run right before each time it is sent.
    :param transient: Statuses by which an idempotent request is sent again.
    :return: The last answer, which may still be a 429 or 5xx.
    :raises BloqUnavailable: No answer came.
    """
    attempt = 0
    while True:
        attempt += 1
        if before_each is not None:
            yield from before_each()
        try:
            response = yield from send(request)
        except BloqUnavailable as failure:
            pause = policy.pause(attempt, None) if idempotent or not failure.acted else None
            if pause is None:
                raise
        else:
            if response.status == 429 or (idempotent and response.status in transient):
                pause = policy.pause(attempt, retry_after(response))
            else:
                pause = None
            if pause is None:
                return response
            if response.status == 429:
                yield from emit(held_back(pause, by_service=True))
        yield from sleep(pause)


def retry_after(response: Response) -> float | None:
    """Return the seconds that a response asks to wait; None where it does not, or not legibly.

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
    """Return an HTTP date in epoch seconds; None where it is none."""
    try:
        date = parsedate_to_datetime(value)
        # Its oldest form names no zone. It means UTC all the same, not the time zone of this machine.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
