"""The base class of operators that create a node or cluster exactly once, whatever fails on the way."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_bloq.exceptions import BloqError, BloqNotFound, BloqNotStarted, BloqWaitTimeout
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.hooks.retries import MissingFeature, warn_once
from airflow_provider_bloq.operators._base import BloqOperator, WaitingOperator

if TYPE_CHECKING:
    from airflow_provider_bloq.flow.effects import Flow
    from airflow_provider_bloq.nodes.client import DeploymentsApi
    from airflow_provider_bloq.nodes.create_once import CreateJournal, Creation
    from airflow_provider_bloq.polling.conditions import Condition

__all__ = [
    "BloqCreateOperator",
]


class BloqCreateOperator(WaitingOperator):
    """Create a node or cluster, wait until it has started, and return it. Retries leave exactly one.

    Before the request, the task records in its state store (Airflow 3.3) which nodes there are; after the response,
    it records the new one, whose id also goes to the XCom ``bloq_created``. A retry uses the recorded one. If the
    record names nothing, since the response was lost, the retry looks for the result of the request:

    - nothing new, and the service must have acted by now: it creates;
    - exactly one new node of this service and ``auth_type``, from the time of the request and claimed by no other
      create task of this DAG run, and ``exclusive_creates`` is set: it uses that one;
    - otherwise it fails without a retry (``BloqAmbiguousCreate``) and names the candidates. Nothing is deleted.
      Clearing the task then creates again.

    A task that succeeded returns the same node when it is retried, and creates another one when it is cleared; the
    first is left alone. A failed task that is cleared uses what it has created, if that still exists.

    Airflow 3.1 and 3.2 have no state store. There, and with ``durable=False``, a try knows nothing of the one before
    it. Once it may have created something, any failure, also ``execution_timeout`` or a trigger that was not run,
    is therefore final: ``BloqNotStarted`` with the id or, if the id is unknown, ``BloqAmbiguousCreate``. Only after
    the loss of a worker does Airflow retry.

    :param service_id: Id of the service to create.
    :param auth_type: How callers authenticate to it.
    :param exclusive_creates: Set it only if, from this task's first try to its last, nothing else in the account
        creates nodes of this service and ``auth_type``, or only tasks of the same DAG run, one at a time. A pool of
        one slot ensures the latter within a DAG run, not across DAGs and runs. A service or ``auth_type`` that no
        other task uses is enough as well.
    :param wait_for_completion: Whether to wait until it has started.
    :param poll_interval: Time between two polls: seconds or a timedelta, at least 0.1 s.
    :param timeout: How long to wait for the start in each try: seconds or a timedelta. ``execution_timeout``
        shortens it.
    :param deferrable: Whether to wait in the triggerer.
    :param cancel_on_kill: Whether to delete what this task has created if the task is killed before it is done:
        marked as failed or successful, cleared, or past its ``execution_timeout``. In the triggerer this needs
        Airflow 3.3. Restarts of Airflow's own processes kill no task.
    :param durable: Whether to record creates in the task state store.
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
        #: Id of what this task has created or resumed.
        self._own: str | None = None

    @abstractmethod
    def api(self, service: dict[str, Any] | None = None) -> DeploymentsApi[Any]:
        """Return the hook's client, or the API for another driver if ``service`` holds its arguments."""

    @abstractmethod
    def order(self) -> dict[str, Any]:
        """Return the body of the create.

        :raises BloqConfigurationError: An argument is invalid.
        """

    @abstractmethod
    def started(self, id: str) -> Condition:  # noqa: A002 - the field's own name
        """Return the condition that it has started."""

    def result(self, deployment: Any) -> dict[str, Any]:
        """Return the result of the task: what was created, without its credentials."""
        shown: dict[str, Any] = deployment.public()
        return shown

    def execute(self, context: Any) -> dict[str, Any]:
        """Create it, or use what an earlier try has created."""
        from airflow_provider_bloq.nodes.models import STARTED

        journal = self._journal(context)
        with self._no_retry_without_journal(journal):
            creation = self._creation(context, journal)
            deployment = self.hook.run(creation.run())
            self._own = deployment.id
            self.log.info(
                "%s (%s %s) is %s", deployment.id, deployment.chain, deployment.network, deployment.state
            )
            if self.wait_for_completion and deployment.state != STARTED:
                deployment = self._awaited(context, deployment.id, self.clock() + self.max_wait)
            return self._finished(creation, deployment)

    def execute_complete(
        self,
        context: Any,
        event: Any,
        id: str,  # noqa: A002 - the field's own name
        deadline: float,
    ) -> dict[str, Any]:
        """Continue after the trigger.

        :param event: The trigger's event.
        :param id: Id of what was created.
        :param deadline: When the wait ends, in epoch seconds.
        """
        from airflow_provider_bloq.nodes.models import STARTED, STOPPED
        from airflow_provider_bloq.polling.serialization import result_of

        self._own = id
        journal = self._journal(context, created=True, id=id)
        with self._no_retry_without_journal(journal):
            try:
                result_of(event)
                failure: BloqError | None = None
            except BloqError as error:
                failure = error
            deployment = self.hook.run(self.api().one(id))
            if deployment.state != STARTED:
                # Waiters that share a poll may get a list that is slightly older than the create.
                if failure is None or (isinstance(failure, BloqNotFound) and deployment.state != STOPPED):
                    deployment = self._awaited(context, id, deadline)
                else:
                    self._give_up(context, id, failure)
            return self._finished(self._creation(context, journal), deployment)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Continue after the trigger, or fail because the trigger failed or was never run.

        :param next_method: The method to call; Airflow has a special name for a trigger that it has ended.
        :param next_kwargs: Its arguments; they lack the id if Airflow has ended the trigger.
        :param context: The task's context.
        """
        journal = self._journal(context, created=True, id=(next_kwargs or {}).get("id"))
        with self._no_retry_without_journal(journal):
            return super().resume_execution(next_method, next_kwargs, context)

    def cancellation(self, service: dict[str, Any]) -> Flow[None] | None:
        from airflow_provider_bloq.nodes.client import DeploymentsApi

        if self._own is None:
            return None
        self.log.info("Deleting %s because the task was killed.", self._own)
        return DeploymentsApi.delete.flow(self.api(service), self._own)

    def _creation(self, context: Any, journal: CreateJournal) -> Creation[Any]:
        from airflow_provider_bloq.nodes.create_once import Creation
        from airflow_provider_bloq.operators._create_journal import generation_of

        with raise_as_fail_exception():
            order = self.order()
        return Creation(
            api=self.api(),
            order=order,
            journal=journal,
            exclusive_creates=self.exclusive_creates,
            generation=generation_of(context),
            # One timeout to connect, one for the response.
            settle_seconds=2 * self.hook.settings.timeout,
            clock=self.clock,
        )

    def _journal(self, context: Any, *, created: bool = False, id: str | None = None) -> CreateJournal:  # noqa: A002
        from airflow_provider_bloq.operators._create_journal import TaskJournal, VolatileCreateState

        store = self._store(context)
        if store is not None:
            return TaskJournal(store, context, BloqCreateOperator)
        if self.durable:
            warn_once(MissingFeature.CREATE_JOURNAL)
        journal = VolatileCreateState(context)
        if created:
            journal.restore(id)
        return journal

    def _store(self, context: Any) -> Any | None:
        return context.get("task_state_store") if self.durable else None

    def _awaited(self, context: Any, id: str, deadline: float) -> Any:  # noqa: A002
        try:
            self.await_condition(self.started(id), deadline, cancel=True, id=id)
        except BloqError as error:
            self._give_up(context, id, error)
        return self.hook.run(self.api().one(id))

    def _give_up(self, context: Any, id: str, cause: BloqError) -> NoReturn:  # noqa: A002
        timed_out = isinstance(cause, BloqWaitTimeout)
        if timed_out:
            self.out_of_execution_time()
        error = BloqNotStarted(
            f"{id} has not started{' in time' if timed_out else ''}: {cause}. "
            "Check its state, and delete it if you do not need it.",
            node_id=id,
        )
        # With cancel_on_kill, the next try of a cleared task may see the deletion by the kill.
        may_succeed_later = timed_out or cause.retryable or self.cancel_on_kill
        error.retryable = may_succeed_later and self._store(context) is not None
        raise error from cause

    @contextmanager
    def _no_retry_without_journal(self, journal: CreateJournal) -> Iterator[None]:
        """Prevent a retry that would not know what was created."""
        from airflow_provider_bloq.operators._create_journal import VolatileCreateState

        if not isinstance(journal, VolatileCreateState):
            yield
            return

        def killed() -> None:
            self._own = self._own or journal.id
            self.on_kill()

        with journal.fail_without_retry(on_timeout=killed):
            yield

    def _finished(self, creation: Creation[Any], deployment: Any) -> dict[str, Any]:
        result = self.result(deployment)
        self.hook.run(creation.finish(deployment.id))
        self._own = None
        return result
