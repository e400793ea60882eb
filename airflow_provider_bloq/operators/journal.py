"""What a task has created, noted where its next try and the tasks beside it find it."""

from __future__ import annotations

from typing import Any

from airflow_provider_bloq.auth.flow import Flow, block
from airflow_provider_bloq.clients.attempts import Attempt, attempt_from_json, attempt_to_json

__all__ = ["CREATED_KEY", "JOURNAL_KEY", "TaskJournal", "life_of"]

#: Where in the task state store the note lies. Another name would be a second create for tasks in flight.
JOURNAL_KEY = "bloq_create"
#: The XCom that names what was created as soon as it is known, long before the task's result is there.
CREATED_KEY = "bloq_created"


def life_of(context: Any) -> int:
    """Return a number that stays as it is when Airflow retries the task, and is greater after a clear.

    Clearing sets ``max_tries`` to the number of the last try plus the task's ``retries``.
    """
    return int(getattr(context["ti"], "max_tries", 0) or 0)


class TaskJournal:
    """A :class:`~airflow_provider_bloq.clients.creation.Journal` in Airflow: notes go to the task state
    store, which outlives tries, and claims into XCom, which other tasks can read.

    Other tasks are the mapped ones of this task and those of the same DAG run that create the same kind of
    thing. A try loses its claims when it begins, and makes them anew as soon as it has read the note.

    :param store: The task state store.
    :param context: The context of the running task.
    :param kind: The class of operators that create the same.
    """

    def __init__(self, store: Any, context: Any, kind: type) -> None:
        self._store = store
        self._context = context
        self._kind = kind

    def read(self) -> Flow[Attempt | None]:
        """See :meth:`.Journal.read`."""
        stored = yield from block(lambda: self._store.get(JOURNAL_KEY))
        return None if stored is None else attempt_from_json(stored)

    def write(self, attempt: Attempt) -> Flow[None]:
        """See :meth:`.Journal.write`."""
        yield from block(lambda: self._store.set(JOURNAL_KEY, attempt_to_json(attempt)))

    def withdraw(self) -> Flow[None]:
        """See :meth:`.Journal.withdraw`."""
        yield from block(lambda: self._store.delete(JOURNAL_KEY))

    def claim(self, id: str) -> Flow[None]:  # noqa: A002 - the field's own name
        """See :meth:`.Journal.claim`."""
        yield from block(lambda: self._context["ti"].xcom_push(key=CREATED_KEY, value=id))

    def claimed(self) -> Flow[frozenset[str]]:
        """See :meth:`.Journal.claimed`."""
        pulled = yield from block(
            lambda: self._context["ti"].xcom_pull(task_ids=self._creators(), key=CREATED_KEY)
        )
        return frozenset(claim for claim in pulled or () if isinstance(claim, str))

    def _creators(self) -> list[str]:
        tasks = self._context["task"].dag.tasks
        return [task.task_id for task in tasks if issubclass(_class_of(task), self._kind)]


def _class_of(task: Any) -> type:
    mapped: Any = getattr(task, "operator_class", None)
    return mapped if isinstance(mapped, type) else type(task)
