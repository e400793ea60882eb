"""Base classes of the operators: those with a connection, those that undo their work on a kill, those that wait."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import BaseOperator, BaseOperatorLink, conf

from airflow_provider_bloq.arguments import seconds_of
from airflow_provider_bloq.exceptions import BloqError
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.retries import (
    DEFAULT_POLICY,
    MissingFeature,
    policy_argument,
    warn_once,
    warn_without_retry_policies,
)
from airflow_provider_bloq.operators.links import LINKS

if TYPE_CHECKING:
    from airflow.sdk import RetryPolicy

    from airflow_provider_bloq.flow.effects import Flow
    from airflow_provider_bloq.polling.conditions import Condition
    from airflow_provider_bloq.triggers.wait import CancellingTrigger

__all__ = [
    "BaseAsyncOperator",
    "BloqOperator",
    "CancellingOperator",
    "WaitingOperator",
]


class BloqOperator(BaseOperator):
    """An operator with a ``bloq`` connection.

    :param bloq_conn_id: Id of the connection.
    :param retry_policy: Which errors are retried, and when. By default
        :class:`~airflow_provider_bloq.hooks.retries.BloqRetryPolicy`; None for none. Ignored on Airflow 3.1 and 3.2,
        which have no retry policies.
    """

    template_fields: Sequence[str] = ("bloq_conn_id",)
    ui_color = "#d9e7f5"
    operator_extra_links: Collection[BaseOperatorLink] = LINKS

    def __init__(
        self,
        *,
        bloq_conn_id: str = BloqHook.default_conn_name,
        retry_policy: RetryPolicy | None = DEFAULT_POLICY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**policy_argument(retry_policy), **kwargs)
        self.bloq_conn_id = bloq_conn_id

    @cached_property
    def hook(self) -> BloqHook:
        """The hook of the connection."""
        warn_without_retry_policies(self.retries)
        return BloqHook(self.bloq_conn_id)


class CancellingOperator(BloqOperator):
    """An operator that can undo its work when the task is killed.

    Airflow kills a task that is marked or cleared while it runs, and one past its ``execution_timeout``.

    :param cancel_on_kill: Whether to undo it.
    :param bloq_conn_id: Id of the connection.
    """

    #: Seconds that undoing may take. Airflow kills a process 5 s after asking it to terminate.
    kill_budget: ClassVar[float] = 3.0

    def __init__(self, *, cancel_on_kill: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cancel_on_kill = cancel_on_kill

    @abstractmethod
    def cancellation(self, service: dict[str, Any]) -> Flow[Any] | None:
        """Return the flow that undoes the work; None if there is nothing to undo.

        :param service: The arguments of an API such as ``NodesApi``.
        """

    def on_kill(self) -> None:
        """Undo the work if ``cancel_on_kill`` is set."""
        if not self.cancel_on_kill:
            return
        # The interrupted code may hold a lock. A thread that waits for it can be abandoned, this one cannot.
        thread = Thread(target=self._cancel, name="bloq-on-kill", daemon=True)
        thread.start()
        thread.join(self.kill_budget)
        if thread.is_alive():
            self.log.warning("Not undone within %.0f s; check what is left.", self.kill_budget)

    def _cancel(self) -> None:
        from airflow_provider_bloq.connection.reading import mask
        from airflow_provider_bloq.flow.retry import NO_RETRIES
        from airflow_provider_bloq.flow.sync_driver import SyncDriver
        from airflow_provider_bloq.hooks._account import network_of

        try:
            settings = self.hook.settings
            # Own sessions and retries: those of the task are in use, and take too long.
            service = {"url": settings.nodes_url, "bearer": self.hook.bearer, "policy": NO_RETRIES}
            flow = self.cancellation(service)
            if flow is not None:
                SyncDriver(replace(network_of(settings), timeout=self.kill_budget), mask=mask).run(flow)
        except BloqError as error:
            self.log.warning("Not undone: %s", error)


#: Seconds after the deadline until Airflow ends a deferred wait whose trigger has fired no event.
TRIGGER_GRACE = 120.0


class WaitingOperator(CancellingOperator):
    """An operator that starts a change and waits until it is done.

    :param poll_interval: Time between two polls: seconds or a timedelta, at least 0.1 s.
    :param timeout: How long to wait in each try: seconds or a timedelta. ``execution_timeout`` shortens it.
    :param deferrable: Whether to wait in the triggerer.
    :param cancel_on_kill: Whether to undo the change if the task is killed.
    :param bloq_conn_id: Id of the connection.
    :raises BloqConfigurationError: A duration is invalid.
    """

    def __init__(
        self,
        *,
        poll_interval: timedelta | float = 10.0,
        timeout: timedelta | float = 3600.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # Checked here, before the change is started. Stored as seconds, since a trigger's arguments are JSON.
        with raise_as_fail_exception():
            where = f"task {self.task_id!r}"
            self.poll_interval = seconds_of("poll_interval", poll_interval, where)
            self.timeout = seconds_of("timeout", timeout, where)
        self.deferrable = deferrable

    @abstractmethod
    def trigger_class(self) -> type[CancellingTrigger]:
        """Return the class of the trigger that a deferrable operator waits with."""

    def clock(self) -> float:
        """Return the time in epoch seconds."""
        return time.time()

    @property
    def max_wait(self) -> float:
        """How many seconds this try may wait."""
        limit = self.execution_timeout
        return self.timeout if limit is None else min(self.timeout, limit.total_seconds())

    def await_condition(self, condition: Condition, deadline: float, *, cancel: bool, **resume: Any) -> None:
        """Wait until a condition is met; if deferrable, defer to ``execute_complete``.

        :param deadline: When the wait ends, in epoch seconds.
        :param cancel: Whether there is a change to undo if the task is killed.
        :param resume: Arguments for ``execute_complete``.
        :raises BloqError: The condition can no longer be met.
        :raises BloqWaitTimeout: The deadline has passed.
        """
        from airflow_provider_bloq.polling.on_worker import wait_until_met

        if self.deferrable:
            self._defer_until_met(condition, deadline, cancel=cancel, **resume)
        observe = condition.target.poll_with(self.hook)
        self.hook.run(
            wait_until_met(
                condition, observe, poll_interval=self.poll_interval, deadline=deadline, clock=self.clock
            )
        )

    def out_of_execution_time(self) -> None:
        """Treat the task as killed if ``execution_timeout`` ended the wait, as Airflow does on the worker."""
        if self.max_wait < self.timeout:
            self.on_kill()

    def _defer_until_met(
        self, condition: Condition, deadline: float, *, cancel: bool, **resume: Any
    ) -> NoReturn:
        from airflow.triggers.base import BaseTrigger

        from airflow_provider_bloq.polling.on_worker import UNLIMITED_FAILURES
        from airflow_provider_bloq.polling.serialization import condition_to_json

        cancels = self.cancel_on_kill and cancel
        if cancels and not hasattr(BaseTrigger, "on_kill"):
            warn_once(MissingFeature.TRIGGER_ON_KILL)
        trigger = self.trigger_class()(
            bloq_conn_id=self.bloq_conn_id,
            condition=condition_to_json(condition),
            poll_interval=self.poll_interval,
            deadline=deadline,
            max_consecutive_failures=UNLIMITED_FAILURES,
            cancel_on_kill=cancels,
        )
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            kwargs={**resume, "deadline": deadline},
            timeout=timedelta(seconds=max(0.0, deadline - self.clock()) + TRIGGER_GRACE),
        )


if TYPE_CHECKING:
    from airflow.sdk import BaseAsyncOperator
else:
    try:
        from airflow.sdk import BaseAsyncOperator
    except ImportError:
        # Airflow 3.1 has none.
        class BaseAsyncOperator(BaseOperator):
            """Stand-in that runs ``aexecute`` on a new event loop."""

            def execute(self, context: Any) -> Any:
                limit = self.execution_timeout.total_seconds() if self.execution_timeout else None
                return asyncio.run(asyncio.wait_for(self.aexecute(context), limit))
