"""What an older Airflow lacks: told in the log where a task does less for it, once in a process."""

from __future__ import annotations

import logging
from enum import Enum
from threading import Lock

__all__ = [
    "Missing",
    "warn_once",
]


log = logging.getLogger(__name__)


class Missing(Enum):
    """What may be missing, and what follows."""

    RETRY_POLICIES = (
        "has no retry policies: only the task's retries and retry_delay decide what is tried again"
    )
    NOTES_OF_CREATES = (
        "has no state store for tasks: a retry of a create knows nothing of the try before it, "
        "so that the task fails for good once something was created"
    )
    NOTES_OF_SENSORS = "has no state store for tasks: in reschedule mode each look starts anew"
    KILLS_OF_TRIGGERS = (
        "does not tell triggers that their task was killed: while it is deferred, cancel_on_kill does nothing"
    )


_told: set[Missing] = set()
_lock = Lock()


def warn_once(lack: Missing) -> None:
    """Warn of it, unless this process has been warned before.

    :param lack: What this Airflow lacks.
    """
    with _lock:
        if lack in _told:
            return
        _told.add(lack)
    log.warning("This Airflow %s (3.3 is the first that does more).", lack.value)
