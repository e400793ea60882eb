"""A look that does not outlast the wait that it is made for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from airflow_provider_bloq.auth.events import HeldBack
from airflow_provider_bloq.auth.flow import Effect, Flow, Sleep, Tell
from airflow_provider_bloq.exceptions import BloqRateLimited, BloqUnavailable

__all__ = ["in_time"]

T = TypeVar("T")


def in_time(look: Flow[T], deadline: float, clock: Callable[[], float] = time.time) -> Flow[T]:
    """Look, and give up where the client would pause beyond the deadline before it asks again; a flow.

    The client tries each request several times, for minutes where the service asks for that. Whoever waits no
    longer than some seconds need not know.

    :param look: Looks once.
    :param deadline: Until when to wait, in epoch seconds.
    :param clock: The time in epoch seconds.
    :raises BloqRateLimited: The service asks for a pause beyond the deadline.
    :raises BloqUnavailable: The client's own pause would end beyond it.
    """
    answer: Any = None
    failure: Exception | None = None
    before: Effect | None = None
    try:
        while True:
            try:
                effect = look.send(answer) if failure is None else look.throw(failure)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(effect, Sleep) and clock() + effect.seconds > deadline:
                raise _given_up(effect.seconds, before)
            before, answer, failure = effect, None, None
            try:
                answer = yield effect
            except Exception as error:
                failure = error
    finally:
        look.close()


def _given_up(seconds: float, before: Effect | None) -> BloqRateLimited | BloqUnavailable:
    match before:
        case Tell(HeldBack(by_service=True)):
            return BloqRateLimited(
                f"The service asks for a pause of {seconds:.0f} s, longer than there is time to wait.",
                retry_after=seconds,
            )
    return BloqUnavailable("A look failed, and there is no time left to try it again.", acted=False)
