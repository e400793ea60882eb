"""What a task has created, noted where its next try and the tasks beside it find it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowSkipException, AirflowTaskTimeout, TaskDeferred

from airflow_provider_bloq.exceptions import (
    BloqAmbiguousCreate,
    BloqError,
    BloqNotFound,
    BloqNotStarted,
    BloqWaitTimeout,
)
from airflow_provider_bloq.flow.effects import Flow, run_blocking
from airflow_provider_bloq.hooks._compat import MissingFeature, warn_once
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.nodes.creation import (
    CreateRecord,
    NoCreateJournal,
    PendingCreate,
    create_record_from_json,
    create_record_to_json,
)
from airflow_provider_bloq.operators._base import BloqOperator, WaitingOperator

if TYPE_CHECKING:
    from airflow_provider_bloq.nodes.client import DeploymentsApi
    from airflow_provider_bloq.nodes.creation import CreateJournal, Creation
    from airflow_provider_bloq.polling.conditions import Condition

__all__ = [
    "CREATED_KEY",
    "JOURNAL_KEY",
    "BloqCreateOperator",
    "TaskJournal",
    "VolatileCreateState",
    "generation_of",
]


#: Where in the task state store the note lies. Another name would be a second create for tasks in flight.
JOURNAL_KEY = "bloq_create"
#: The XCom that names what was created as soon as it is known, long before the task's result is there.
CREATED_KEY = "bloq_created"


def generation_of(context: Any) -> int:
    """Return a number that stays as it is when Airflow retries the task, and is greater after a clear.

    Clearing sets ``max_tries`` to the number of the last try plus the task's ``retries``.
    """
    return int(getattr(context["ti"], "max_tries", 0) or 0)


class TaskJournal:
    """A :class:`~airflow_provider_bloq.nodes.creation.CreateJournal` in Airflow: notes go to the task state
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

    def read(self) -> Flow[CreateRecord | None]:
        """See :meth:`.Journal.read`."""
        stored = yield from run_blocking(lambda: self._store.get(JOURNAL_KEY))
        return None if stored is None else create_record_from_json(stored)

    def write(self, attempt: CreateRecord) -> Flow[None]:
        """See :meth:`.Journal.write`."""
        yield from run_blocking(lambda: self._store.set(JOURNAL_KEY, create_record_to_json(attempt)))

    def withdraw(self) -> Flow[None]:
        """See :meth:`.Journal.withdraw`."""
        yield from run_blocking(lambda: self._store.delete(JOURNAL_KEY))

    def claim(self, id: str) -> Flow[None]:  # noqa: A002 - the field's own name
        """See :meth:`.Journal.claim`."""
        yield from run_blocking(lambda: self._context["ti"].xcom_push(key=CREATED_KEY, value=id))

    def claimed(self) -> Flow[frozenset[str]]:
        """See :meth:`.Journal.claimed`."""
        pulled = yield from run_blocking(
            lambda: self._context["ti"].xcom_pull(task_ids=self._creators(), key=CREATED_KEY)
        )
        return frozenset(claim for claim in pulled or () if isinstance(claim, str))

    def _creators(self) -> list[str]:
        tasks = self._context["task"].dag.tasks
        return [task.task_id for task in tasks if issubclass(_class_of(task), self._kind)]


def _class_of(task: Any) -> type:
    mapped: Any = getattr(task, "operator_class", None)
    return mapped if isinstance(mapped, type) else type(task)


#: No failures: the task goes on, or is skipped.
_SIGNALS = (TaskDeferred, AirflowSkipException)


class VolatileCreateState(NoCreateJournal):
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

    def write(self, attempt: CreateRecord) -> Flow[None]:
        """See :meth:`.Journal.write`."""
        self.may_have_created = self.may_have_created or isinstance(attempt, PendingCreate)
        yield from ()

    def withdraw(self) -> Flow[None]:
        """See :meth:`.Journal.withdraw`."""
        self.may_have_created = False
        yield from ()

    def claim(self, id: str) -> Flow[None]:  # noqa: A002 - the field's own name
        """See :meth:`.Journal.claim`."""
        self.id = id
        yield from run_blocking(lambda: self._context["ti"].xcom_push(key=CREATED_KEY, value=id))

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


class BloqCreateOperator(WaitingOperator):
    """Create something, wait until it has started, and return it. Whatever is lost on the way, a retry
    leaves exactly one.

    Before the request, the task notes in its state store (Airflow 3.3) what is there; after the answer, what
    was created, whose id also goes into the XCom ``bloq_created``. A retry takes up what the note names. Where
    only the first note is there, it looks what has come of the request:

    - nothing, even when the service must have acted on it: it creates;
    - a lone new one of this service and ``auth_type``, from the time of the request, which no other create task of
      this DAG run has claimed, and ``exclusive_creates`` is set: it takes that;
    - else it fails for good (``BloqAmbiguousCreate``) and names what may be its own. Nothing is deleted, and
      clearing the task afterwards creates anew.

    A task that succeeded returns the same again when it is retried, and creates another one when it is cleared;
    the former is left alone. A failed task that is cleared takes up what it has created, if that is still there.

    Airflow 3.1 and 3.2 have no state store. There, and with ``durable=False``, a try knows nothing of the one
    before it. So once it may have created something, whatever ends it, such as its ``execution_timeout`` or a trigger
    that nobody runs, makes it fail for good: with the id (``BloqNotStarted``), or, where that is not known,
    with ``BloqAmbiguousCreate``. Only a worker that is lost cannot tell, and is tried again.

    :param service_id: What to create.
    :param auth_type: How it will know its callers.
    :param exclusive_creates: Set it only if, from this task's first try to its last, nothing else creates of this
        service and ``auth_type`` in the account, or only tasks of the same DAG run, one at a time. A pool of one
        slot sees to the latter, not to other DAGs or other runs; a service or an ``auth_type`` that no other
        task uses will do as well.
    :param wait_for_completion: Whether to wait until it has started.
    :param poll_interval: Time between two looks at its state: seconds, or a timedelta; at least 0.1 s.
    :param timeout: Time to wait for its start, from each try's beginning: seconds, or a timedelta.
        ``execution_timeout`` shortens it.
    :param deferrable: Whether to wait in the triggerer.
    :param cancel_on_kill: Whether to delete what this task has created if the task is killed before it is done:
        marked as failed or successful, or cleared, or out of ``execution_timeout``. In the triggerer this needs
        Airflow 3.3. Restarts of Airflow's own processes kill no task.
    :param durable: Whether to keep the notes.
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (*BloqOperator.template_fields, "service_id", "auth_type")

    def __init__(
        self,
        *,
        service_id: str,
        auth_type: str = "jwt",
        exclusive_creates: bool = False,
        wait_for_completion: bool = True,
        durable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.service_id = service_id
        self.auth_type = auth_type
        self.exclusive_creates = exclusive_creates
        self.wait_for_completion = wait_for_completion
        self.durable = durable
        #: What this task has created or taken up, and nothing else.
        self._own: str | None = None

    @abstractmethod
    def api(self, service: dict[str, Any] | None = None) -> DeploymentsApi[Any]:
        """Return the hook's client for what is created, or the description of the API of a service."""

    @abstractmethod
    def order(self) -> dict[str, Any]:
        """Return what to create.

        :raises BloqConfigurationError: An argument cannot be right.
        """

    @abstractmethod
    def started(self, id: str) -> Condition:  # noqa: A002 - the field's own name
        """Return the condition that what was created has started."""

    def result(self, machine: Any) -> dict[str, Any]:
        """Return what the task returns: what was created, without its credentials."""
        shown: dict[str, Any] = machine.public()
        return shown

    def execute(self, context: Any) -> dict[str, Any]:
        """Create it, or take up what an earlier try has created.

        :return: What was created, without its credentials.
        """
        from airflow_provider_bloq.nodes.models import STARTED

        journal = self._journal(context)
        with self._no_retry_without_notes(journal):
            creation = self._creation(context, journal)
            machine = self.hook.run(creation.run())
            self._own = machine.id
            self.log.info("%s (%s %s) is %s", machine.id, machine.chain, machine.network, machine.state)
            if self.wait_for_completion and machine.state != STARTED:
                machine = self._awaited(context, machine.id, self.clock() + self.patience)
            return self._finished(creation, machine)

    def execute_complete(
        self,
        context: Any,
        event: Any,
        id: str,  # noqa: A002 - the field's own name
        deadline: float,
    ) -> dict[str, Any]:
        """Go on where the trigger has waited.

        :param event: What it found.
        :param id: What was created.
        :param deadline: Until when to wait, in epoch seconds.
        :return: As :meth:`execute`.
        """
        from airflow_provider_bloq.nodes.models import STARTED, STOPPED
        from airflow_provider_bloq.polling.serialization import result_of

        self._own = id
        journal = self._journal(context, created=True, id=id)
        with self._no_retry_without_notes(journal):
            try:
                result_of(event)
                news: BloqError | None = None
            except BloqError as error:
                news = error
            machine = self.hook.run(self.api().one(id))
            if machine.state != STARTED:
                # Those who look together may do so at a list that is a little older than what was created.
                if news is None or (isinstance(news, BloqNotFound) and machine.state != STOPPED):
                    machine = self._awaited(context, id, deadline)
                else:
                    self._give_up(context, id, news)
            return self._finished(self._creation(context, journal), machine)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Go on after the trigger, or fail since Airflow has ended it: it had failed, or nobody ran it.

        :param next_method: What is called; Airflow has a name of its own for a trigger that it has ended.
        :param next_kwargs: What that is given, without the id in the latter case.
        :param context: The task's context.
        :return: As :meth:`execute`.
        """
        journal = self._journal(context, created=True, id=(next_kwargs or {}).get("id"))
        with self._no_retry_without_notes(journal):
            return super().resume_execution(next_method, next_kwargs, context)

    def cancellation(self, service: dict[str, Any]) -> Flow[None] | None:
        """Delete what this task has created; see :meth:`.CancellingOperator.cancellation`."""
        from airflow_provider_bloq.nodes.client import DeploymentsApi

        if self._own is None:
            return None
        self.log.info("Deleting %s, since the task is killed.", self._own)
        return DeploymentsApi.delete.flow(self.api(service), self._own)

    def _creation(self, context: Any, journal: CreateJournal) -> Creation[Any]:
        from airflow_provider_bloq.nodes.creation import Creation

        with raise_as_fail_exception():
            order = self.order()
        return Creation(
            api=self.api(),
            order=order,
            journal=journal,
            exclusive_creates=self.exclusive_creates,
            generation=generation_of(context),
            # The time to connect, and the time for the answer.
            settle_seconds=2 * self.hook.settings.timeout,
            clock=self.clock,
        )

    def _journal(self, context: Any, *, created: bool = False, id: str | None = None) -> CreateJournal:  # noqa: A002

        store = self._store(context)
        if store is not None:
            return TaskJournal(store, context, BloqCreateOperator)
        if self.durable:
            warn_once(MissingFeature.CREATE_JOURNAL)
        journal = VolatileCreateState(context)
        if created:
            journal.recall(id)
        return journal

    def _store(self, context: Any) -> Any | None:
        return context.get("task_state_store") if self.durable else None

    def _awaited(self, context: Any, id: str, deadline: float) -> Any:  # noqa: A002
        try:
            self.await_condition(self.started(id), deadline, cancel=True, id=id)
        except BloqError as error:
            self._give_up(context, id, error)
        return self.hook.run(self.api().one(id))

    def _give_up(self, context: Any, id: str, why: BloqError) -> NoReturn:  # noqa: A002
        late = isinstance(why, BloqWaitTimeout)
        if late:
            self.out_of_execution_time()
        error = BloqNotStarted(
            f"{id} has not started{' in time' if late else ''}: {why}. Look what became of it, and delete it if it "
            "is not wanted any more.",
            node_id=id,
        )
        # Where kills delete, one that was cleared may meet its own deletion, which is not ordered with its next try.
        may_pass = late or why.retryable or self.cancel_on_kill
        error.retryable = may_pass and self._store(context) is not None
        raise error from why

    @contextmanager
    def _no_retry_without_notes(self, journal: CreateJournal) -> Iterator[None]:
        """Where the next try would not know of what was created, see to it that there is none."""
        if not isinstance(journal, VolatileCreateState):
            yield
            return

        def killed() -> None:
            self._own = self._own or journal.id
            self.on_kill()

        with journal.failing_for_good(on_timeout=killed):
            yield

    def _finished(self, creation: Creation[Any], machine: Any) -> dict[str, Any]:
        result = self.result(machine)
        self.hook.run(creation.finish(machine.id))
        self._own = None
        return result
