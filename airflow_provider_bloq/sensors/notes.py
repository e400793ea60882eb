"""What a sensor in reschedule mode knows from one poke to the next, each of which is a process of its own."""

from __future__ import annotations

from typing import Any

__all__ = ["Notes"]

#: The key in the task state store.
KEY = "bloq_sensor"


class Notes:
    """Notes in the task state store, which Airflow has from 3.3 on. Without a store nothing is remembered.

    They are good for one try that waits for one condition: what a try before has left is not believed, since
    days may lie between the two.

    :param store: ``context["task_state_store"]``; None where there is none.
    :param condition: What is waited for, as JSON.
    :param try_number: The number of the try.
    """

    def __init__(self, store: Any, condition: dict[str, Any], try_number: int) -> None:
        self._store = store
        self._of = {"condition": condition, "try_number": try_number}
        self._are_there = False

    def read(self) -> dict[str, Any]:
        """Return what was noted; empty where there is nothing, or nothing of this wait."""
        found = self._store.get(KEY) if self._store is not None else None
        self._are_there = found is not None
        match found:
            case {"of": of, "noted": dict(noted)} if of == self._of:
                return noted
        return {}

    def write(self, noted: dict[str, Any]) -> None:
        """Note this instead of what was noted.

        :param noted: JSON.
        """
        if self._store is not None:
            self._store.set(KEY, {"of": self._of, "noted": noted})
            self._are_there = True

    def clear(self) -> None:
        """Throw the notes away: the wait is over."""
        if self._are_there:
            self._store.delete(KEY)
            self._are_there = False
