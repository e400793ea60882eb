"""Which failures of a look may pass, and how long to let a service be after one."""

from __future__ import annotations

import random
from collections.abc import Callable

from airflow_provider_bloq.exceptions import BloqError, BloqRateLimited
from airflow_provider_bloq.hooks.retry_advice import Pace, advice_on

__all__ = ["may_pass", "pause_after"]

#: The pause after one failure is half a second to one; it doubles, up to a minute. Where the service asks for
#: more, it gets up to an hour.
PACE = Pace(first=1.0, cap=60.0, longest_told=3600.0)


def may_pass(error: BaseException) -> bool:
    """Tell whether another look may succeed with nothing changed by hand, as for the retry of a task."""
    if not isinstance(error, BloqError):
        return False
    advice = advice_on(error, 1, 0.0, PACE)
    return advice is None or advice.pause is not None


def pause_after(failures: int, error: BaseException, *, random: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after a failure. Never 0, so that no failure makes a busy loop.

    :param failures: How many there were in a row, with this one.
    :param error: What the latest of them was.
    :param random: Gives a number from 0 to 1, for the jitter.
    """
    jitter = random()
    pause = PACE.backoff(failures, jitter)
    told = error.retry_after if isinstance(error, BloqRateLimited) else None
    return pause if told is None else max(pause, PACE.told(told, jitter))
