"""What creating a node and creating a cluster have in common: exactly one, and the wait until it has started."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_bloq.exceptions import BloqError, BloqNotFound, BloqNotStarted, BloqWaitTimeout
from airflow_provider_bloq.hooks.failures import failing_at_once
from airflow_provider_bloq.hooks.lacking import Lack, tell_once
from airflow_provider_bloq.operators.base import BloqOperator
from airflow_provider_bloq.operators.waiting import WaitingOperator

if TYPE_CHECKING:
    from airflow_provider_bloq.auth.flow import Flow
    from airflow_provider_bloq.clients.creation import Creation, Journal
    from airflow_provider_bloq.clients.machines import MachinesApi
    from airflow_provider_bloq.conditions.condition import Condition

__all__ = ["BloqCreateOperator"]


class BloqCreateOperator(WaitingOperator):
    """Create something, wait until it has started, and return it. Whatever is lost on the way, a retry
    leaves exactly one.

    Before the request, the task notes in its state store (Airflow 3.3) what is there; after the answer, what
    was created, whose id also goes into the XCom ``bloq_created``. A retry takes up what the note names. Where
    only the first note is there, it looks what has come of the request:

    - nothing, even when the service must have acted on it: it creates;
    - a lone new one of this service and ``auth_type``, from the time of the request, which no other create task of
      this DAG run has claimed, and ``serialised`` is set: it takes that;
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
    :param serialised: Set it only if, from this task's first try to its last, nothing else creates of this
        service and ``auth_type`` in the account, or only tasks of the same DAG run, one at a time. A pool of one
        slot sees to the latter, not to other DAGs or other runs; a service or an ``auth_type`` that no other
        task uses will do as well.
    :param wait: Whether to wait until it has started.
    :param poll_interval: Time between two looks at its state: seconds, or a timedelta; at least 0.1 s.
    :param wait_timeout: Time to wait for its start, from each try's beginning: seconds, or a timedelta.
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
        serialised: bool = False,
        wait: bool = True,
        durable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.service_id = service_id
        self.auth_type = auth_type
        self.serialised = serialised
        self.wait = wait
        self.durable = durable
        #: What this task has created or taken up, and nothing else.
        self._own: str | None = None

    @abstractmethod
    def api(self, service: dict[str, Any] | None = None) -> MachinesApi[Any]:
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
        from airflow_provider_bloq.clients.models import STARTED

        journal = self._journal(context)
        with self._no_retry_without_notes(journal):
            creation = self._creation(context, journal)
            machine = self.hook.run(creation.run())
            self._own = machine.id
            self.log.info("%s (%s %s) is %s", machine.id, machine.chain, machine.network, machine.state)
            if self.wait and machine.state != STARTED:
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
        from airflow_provider_bloq.clients.models import STARTED, STOPPED
        from airflow_provider_bloq.triggers.outcome import result_of

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
        from airflow_provider_bloq.clients.machines import MachinesApi

        if self._own is None:
            return None
        self.log.info("Deleting %s, since the task is killed.", self._own)
        return MachinesApi.delete.flow(self.api(service), self._own)

    def _creation(self, context: Any, journal: Journal) -> Creation[Any]:
        from airflow_provider_bloq.clients.creation import Creation
        from airflow_provider_bloq.operators.journal import life_of

        with failing_at_once():
            order = self.order()
        return Creation(
            api=self.api(),
            order=order,
            journal=journal,
            serialised=self.serialised,
            life=life_of(context),
            # The time to connect, and the time for the answer.
            settles_in=2 * self.hook.settings.timeout,
            clock=self.clock,
        )

    def _journal(self, context: Any, *, created: bool = False, id: str | None = None) -> Journal:  # noqa: A002
        from airflow_provider_bloq.operators.journal import TaskJournal
        from airflow_provider_bloq.operators.unnoted import Unnoted

        store = self._store(context)
        if store is not None:
            return TaskJournal(store, context, BloqCreateOperator)
        if self.durable:
            tell_once(Lack.NOTES_OF_CREATES)
        journal = Unnoted(context)
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
    def _no_retry_without_notes(self, journal: Journal) -> Iterator[None]:
        """Where the next try would not know of what was created, see to it that there is none."""
        from airflow_provider_bloq.operators.unnoted import Unnoted

        if not isinstance(journal, Unnoted):
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
