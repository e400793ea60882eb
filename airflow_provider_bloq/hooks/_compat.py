"""Features that an older Airflow lacks. The first task that would use one logs a warning, once per process."""

from __future__ import annotations

import logging
from enum import Enum
from threading import Lock

__all__ = [
    "MissingFeature",
    "warn_once",
]

log = logging.getLogger(__name__)


class MissingFeature(Enum):
    """A feature, and what follows from its absence."""

    RETRY_POLICIES = "has no retry policies: only the task's retries and retry_delay decide about retries"
    CREATE_JOURNAL = (
        "has no task state store: a retry of a create does not know what the try before it did, "
        "so the task fails without a retry once something was created"
    )
    POKE_STATE = "has no task state store: in reschedule mode each poke starts from scratch"
    TRIGGER_ON_KILL = (
        "does not notify triggers of a kill: cancel_on_kill does nothing while the task is deferred"
    )


_warned: set[MissingFeature] = set()
_lock = Lock()


def warn_once(feature: MissingFeature) -> None:
    """Log the warning unless this process has already done so."""
    with _lock:
        if feature in _warned:
            return
        _warned.add(feature)
    log.warning("This Airflow %s (needs Airflow 3.3).", feature.value)
