"""Looking on the worker until a condition holds: the loop that the triggerer has for tasks that are deferred."""

from __future__ import annotations

import time
from collections.abc import Callable

from airflow_provider_bloq.auth.flow import Flow, sleep
from airflow_provider_bloq.conditions.condition import Condition, Failed, Met, Observer
from airflow_provider_bloq.exceptions import BloqError, BloqWaitTimeout
from airflow_provider_bloq.triggers.patience import Wait

__all__ = ["BEARS_ALL", "until_met"]

#: Failed looks in a row that are borne. The deadline is patience enough: what was begun goes on meanwhile.
BEARS_ALL = 1_000_000


def until_met(
    condition: Condition,
    observe: Observer,
    *,
    poll_interval: float,
    deadline: float,
    clock: Callable[[], float] = time.time,
) -> Flow[None]:
    """Look again and again until a condition holds; a flow.

    :param condition: What is waited for.
    :param observe: Looks once.
    :param poll_interval: Seconds between two looks.
    :param deadline: Until when to wait, in epoch seconds. There is one more look when it has come.
    :param clock: The time in epoch seconds.
    :raises BloqError: It will not hold any more, or a look failed in a way that does not pass.
    :raises BloqWaitTimeout: It does not hold in time.
    """
    wait = Wait(condition, patience=BEARS_ALL)
    interests = frozenset() if condition.interest is None else frozenset({condition.interest})
    while True:
        try:
            verdict = wait.saw((yield from observe(interests)))
        except BloqError as error:
            verdict = wait.missed(error)
        if isinstance(verdict, Met):
            return
        if isinstance(verdict, Failed):
            raise verdict.error
        remaining = deadline - clock()
        if remaining <= 0:
            raise BloqWaitTimeout(wait.reason)
        yield from sleep(min(poll_interval, remaining))
