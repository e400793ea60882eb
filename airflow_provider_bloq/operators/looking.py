"""Looking on the worker until a condition holds: the loop that the triggerer has for tasks that are deferred."""

from __future__ import annotations

import time
from collections.abc import Callable

from airflow_provider_bloq.auth.flow import Flow, sleep
from airflow_provider_bloq.conditions.condition import Condition, Failed, Met, Observer
from airflow_provider_bloq.exceptions import BloqError, BloqWaitTimeout
from airflow_provider_bloq.triggers.in_time import in_time
from airflow_provider_bloq.triggers.patience import Wait
from airflow_provider_bloq.triggers.poll import SHORTEST_INTERVAL

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

    After a look that failed it lets the service be for a while, as the triggers do: for at least as long as that
    asks for.

    :param condition: What is waited for.
    :param observe: Looks once.
    :param poll_interval: Seconds between two looks; at least 0.1.
    :param deadline: Until when to wait, in epoch seconds. There is one more look when it has come, unless the
        service asks to be let be for longer.
    :param clock: The time in epoch seconds.
    :raises BloqError: It will not hold any more, or a look failed in a way that does not pass.
    :raises BloqWaitTimeout: It does not hold in time.
    """
    wait = Wait(condition, patience=BEARS_ALL)
    interests = frozenset() if condition.interest is None else frozenset({condition.interest})
    while True:
        try:
            verdict = wait.saw((yield from in_time(observe(interests), deadline, clock)))
        except BloqError as error:
            verdict = wait.missed(error)
        if isinstance(verdict, Met):
            return
        if isinstance(verdict, Failed):
            raise verdict.error
        remaining = deadline - clock()
        if remaining > 0:
            yield from sleep(min(max(poll_interval, SHORTEST_INTERVAL, wait.pause), remaining))
        if remaining <= 0 or wait.asked > remaining:
            raise BloqWaitTimeout(wait.reason)
