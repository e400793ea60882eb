"""``on_kill`` of the operators: undo what the task has begun, if it is told to, in the little time that is left."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_bloq.exceptions import BloqError
from airflow_provider_bloq.operators.base import BloqOperator

if TYPE_CHECKING:
    from airflow_provider_bloq.auth.flow import Flow

__all__ = ["CancellingOperator"]


class CancellingOperator(BloqOperator):
    """An operator that can undo what it has begun when it is killed.

    Airflow kills a task that is marked or cleared while it runs, and one whose ``execution_timeout`` has passed.

    :param cancel_on_kill: Whether it does. By default what was begun is left alone.
    :param bloq_conn_id: Id of the connection.
    """

    #: Seconds that undoing may take. Airflow ends a process for good 5 s after it asked it to end.
    kill_budget: ClassVar[float] = 3.0

    def __init__(self, *, cancel_on_kill: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cancel_on_kill = cancel_on_kill

    @abstractmethod
    def cancellation(self, service: dict[str, Any]) -> Flow[Any] | None:
        """Make the flow that undoes it; None where nothing was begun.

        :param service: The arguments of a description of an API, such as ``NodesApi``.
        """

    def on_kill(self) -> None:
        """Undo what was begun, if ``cancel_on_kill`` says so."""
        if not self.cancel_on_kill:
            return
        # The task may have been interrupted anywhere, also with a lock in its hands: a thread can be left
        # waiting for that, this one could not.
        thread = Thread(target=self._cancel, name="bloq-on-kill", daemon=True)
        thread.start()
        thread.join(self.kill_budget)
        if thread.is_alive():
            self.log.warning("Could not be undone in %.0f s; look what is left.", self.kill_budget)

    def _cancel(self) -> None:
        from airflow_provider_bloq.clients.retry import IMPATIENT
        from airflow_provider_bloq.hooks.masking import mask
        from airflow_provider_bloq.hooks.wiring import network_of
        from airflow_provider_bloq.transport.blocking import BlockingDriver

        try:
            settings = self.hook.settings
            # Sessions and patience of its own: those of the task are in use, and too long.
            service = {"url": settings.nodes_url, "bearer": self.hook.bearer, "policy": IMPATIENT}
            flow = self.cancellation(service)
            if flow is not None:
                BlockingDriver(replace(network_of(settings), timeout=self.kill_budget), mask=mask).run(flow)
        except BloqError as error:
            self.log.warning("Could not be undone: %s", error)
