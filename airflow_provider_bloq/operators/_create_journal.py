"""How a create task remembers what it has created: in Airflow, or only until the try ends.

A separate module because it loads the client for nodes, which must not happen while DAGs are parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from airflow.providers.common.compat.sdk import AirflowSkipException, AirflowTaskTimeout, TaskDeferred

from airflow_provider_bloq.exceptions import BloqAmbiguousCreate, BloqError, BloqNotStarted
from airflow_provider_bloq.flow.effects import Flow, run_blocking
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.nodes.create_once import (
    CreateRecord,
    NoCreateJournal,
    PendingCreate,
    create_record_from_json,
    create_record_to_json,
)

__all__ = [
    "CREATED_KEY",
    "JOURNAL_KEY",
    "TaskJournal",
    "VolatileCreateState",
    "generation_of",
]

#: Key in the task state store. If it changed, tasks in flight would create a second node.
JOURNAL_KEY = "bloq_create"
#: XCom with the id of what was created, pushed long before the task returns.
CREATED_KEY = "bloq_created"
#: Exceptions that are not failures: the task defers or is skipped.
_SIGNALS = (TaskDeferred, AirflowSkipException)


def generation_of(context: Any) -> int:
    """Return a number that stays the same over retries of a task and grows when the task is cleared.

    Clearing sets ``max_tries`` to the number of the last try plus the task's ``retries``.
    """
    return int(getattr(context["ti"], "max_tries", 0) or 0)


def _claim(ti: Any, id: str) -> Flow[None]:  # noqa: A002 - the field's own name
    yield from run_blocking(lambda: ti.xcom_push(key=CREATED_KEY, value=id))


class TaskJournal:
    """A :class:`~airflow_provider_bloq.nodes.create_once.CreateJournal` in Airflow.

    Records go to the task state store, which outlives tries; claims go to XCom, which other tasks can read. Airflow
    deletes the claims of a task when a try begins; the try renews them once it has read the record.

    :param store: The task state store.
    :param context: The context of the running task.
    :param operator: Base class of the operators whose claims count, in the same DAG run.
    """

    def __init__(self, store: Any, context: Any, operator: type) -> None:
        self._store = store
        self._context = context
        self._operator = operator

    def read(self) -> Flow[CreateRecord | None]:
        stored = yield from run_blocking(lambda: self._store.get(JOURNAL_KEY))
        return None if stored is None else create_record_from_json(stored)

    def write(self, record: CreateRecord) -> Flow[None]:
        yield from run_blocking(lambda: self._store.set(JOURNAL_KEY, create_record_to_json(record)))

    def withdraw(self) -> Flow[None]:
        yield from run_blocking(lambda: self._store.delete(JOURNAL_KEY))

    def claim(self, id: str) -> Flow[None]:  # noqa: A002 - the field's own name
        yield from _claim(self._context["ti"], id)

    def claimed(self) -> Flow[frozenset[str]]:
        tasks = self._context["task"].dag.tasks
        creators = [task.task_id for task in tasks if issubclass(_class_of(task), self._operator)]
        pulled = yield from run_blocking(
            lambda: self._context["ti"].xcom_pull(task_ids=creators, key=CREATED_KEY)
        )
        return frozenset(claim for claim in pulled or () if isinstance(claim, str))


def _class_of(task: Any) -> type:
    mapped: Any = getattr(task, "operator_class", None)
    return mapped if isinstance(mapped, type) else type(task)


class VolatileCreateState(NoCreateJournal):
    """What one try knows about its create; lost when the try ends.

    The id also goes to XCom. It is read from there if Airflow ended the trigger, since Airflow then drops the
    arguments of the resumed task.

    :param context: The context of the running task.
    """

    def __init__(self, context: Any) -> None:
        self._ti = context["ti"]
        #: Whether a create was sent that may have made something.
        self.may_have_created = False
        #: Id of what was created.
        self.id: str | None = None

    def write(self, record: CreateRecord) -> Flow[None]:
        self.may_have_created = self.may_have_created or isinstance(record, PendingCreate)
        yield from ()

    def withdraw(self) -> Flow[None]:
        self.may_have_created = False
        yield from ()

    def claim(self, id: str) -> Flow[None]:  # noqa: A002 - the field's own name
        self.id = id
        yield from _claim(self._ti, id)

    def restore(self, id: str | None) -> None:  # noqa: A002 - the field's own name
        """Restore the state in the process that resumes the task.

        :param id: Id of what was created; None to look it up.
        """
        self.may_have_created = True
        self.id = id if id is not None else self._pull_claim()

    @contextmanager
    def fail_without_retry(self, on_timeout: Callable[[], None]) -> Iterator[None]:
        """Keep Airflow from retrying a failure that occurs after something may have been created.

        Airflow also retries after what is not an ``Exception``: its own timeout, ``SystemExit``, ``KeyboardInterrupt``.

        :param on_timeout: Called on ``execution_timeout``, which Airflow does not see in this case.
        :raises BloqNotStarted: Something was created. Also an ``AirflowFailException``.
        :raises BloqAmbiguousCreate: Something may have been created. Also an ``AirflowFailException``.
        """
        try:
            yield
        except _SIGNALS:
            raise
        except BaseException as error:
            failure = self._failure(error)
            if failure is None:
                raise
            if isinstance(error, AirflowTaskTimeout):
                on_timeout()
            with raise_as_fail_exception():
                if failure is error:
                    raise
                raise failure from error

    def _failure(self, error: BaseException) -> BloqError | None:
        if isinstance(error, BloqNotStarted | BloqAmbiguousCreate):
            return error
        what = str(error) if isinstance(error, BloqError) else f"{type(error).__name__}: {error}"
        if self.id is not None:
            return BloqNotStarted(
                f"{self.id} was created, but then: {what}. Check its state, and delete it if you do not need it; "
                "another try would create another one.",
                node_id=self.id,
            )
        # Errors of the create itself already say whether something was created.
        if not self.may_have_created or isinstance(error, BloqError):
            return None
        return BloqAmbiguousCreate(
            f"A create was sent, but then: {what}. Its outcome is unknown, and another try could not find out. Check "
            "whether there is a new one, and delete it if you do not need it, before you create again (clear the "
            "task)."
        )

    def _pull_claim(self) -> str | None:
        ti = self._ti
        try:
            claim = ti.xcom_pull(key=CREATED_KEY, task_ids=ti.task_id, map_indexes=ti.map_index)
        except Exception:
            # The task is failing already, and that failure matters more.
            return None
        return claim if isinstance(claim, str) else None
