"""A create without notes: its next try would know nothing of it, so that however it fails, it fails for good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from airflow.providers.common.compat.sdk import AirflowSkipException, AirflowTaskTimeout, TaskDeferred

from airflow_provider_bloq.auth.flow import Flow, block
from airflow_provider_bloq.clients.attempts import Attempt, Sent
from airflow_provider_bloq.clients.creation import NoJournal
from airflow_provider_bloq.exceptions import BloqAmbiguousCreate, BloqError, BloqNotStarted
from airflow_provider_bloq.hooks.failures import failing_at_once
from airflow_provider_bloq.operators.journal import CREATED_KEY

__all__ = ["Unnoted"]

#: No failures: the task goes on, or is skipped.
_SIGNALS = (TaskDeferred, AirflowSkipException)


class Unnoted(NoJournal):
    """What a try knows of its own create, for as long as it lives.

    The id of what was created also goes into an XCom, as that of a create with notes does: it is all that is left
    where Airflow ends a trigger, since it then throws the arguments of the resumed task away.

    :param context: The context of the running task.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        #: Whether a create was sent that may have made something.
        self.may_have_created = False
        #: What it made.
        self.id: str | None = None

    def write(self, attempt: Attempt) -> Flow[None]:
        """See :meth:`.Journal.write`."""
        self.may_have_created = self.may_have_created or isinstance(attempt, Sent)
        yield from ()

    def withdraw(self) -> Flow[None]:
        """See :meth:`.Journal.withdraw`."""
        self.may_have_created = False
        yield from ()

    def claim(self, id: str) -> Flow[None]:  # noqa: A002 - the field's own name
        """See :meth:`.Journal.claim`."""
        self.id = id
        yield from block(lambda: self._context["ti"].xcom_push(key=CREATED_KEY, value=id))

    def recall(self, id: str | None) -> None:  # noqa: A002 - the field's own name
        """Remember in another process that something was created.

        :param id: Its id; None to look it up.
        """
        self.may_have_created = True
        self.id = id if id is not None else self._claimed_before()

    @contextmanager
    def failing_for_good(self, on_timeout: Callable[[], None]) -> Iterator[None]:
        """See to it that Airflow does not try again what fails once something may have been created.

        That includes what is no ``Exception``: Airflow retries also after its own timeout, and after what ends a
        process (``SystemExit``, ``KeyboardInterrupt``), which it catches all the same.

        :param on_timeout: What Airflow does when the ``execution_timeout`` passes, which it is not told of then.
        :raises BloqNotStarted: Something was created; also an ``AirflowFailException``.
        :raises BloqAmbiguousCreate: Something may have been; likewise.
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
            with failing_at_once():
                if failure is error:
                    raise
                raise failure from error

    def _failure(self, error: BaseException) -> BloqError | None:
        if isinstance(error, BloqNotStarted | BloqAmbiguousCreate):
            return error
        what = str(error) if isinstance(error, BloqError) else f"{type(error).__name__}: {error}"
        if self.id is not None:
            return BloqNotStarted(
                f"{self.id} was created, but then: {what}. Look what became of it, and delete it if it is not wanted "
                "any more; another try would create another one.",
                node_id=self.id,
            )
        # The create itself tells of its own errors what came of it.
        if not self.may_have_created or isinstance(error, BloqError):
            return None
        return BloqAmbiguousCreate(
            f"A create was sent, but then: {what}. What came of it is not known here, and another try could not tell. "
            "Look whether there is a new one, and delete it if it is not wanted, before you create again (clear "
            "the task)."
        )

    def _claimed_before(self) -> str | None:
        ti = self._context["ti"]
        try:
            claim = ti.xcom_pull(key=CREATED_KEY, task_ids=ti.task_id, map_indexes=ti.map_index)
        except Exception:
            # Whatever keeps it from being read, the task has a failure to tell of already.
            return None
        return claim if isinstance(claim, str) else None
