"""Waiting of an operator for what it has begun: on the worker, or deferred in the triggerer."""

from __future__ import annotations

import time
from abc import abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import conf

from airflow_provider_bloq.clients.templated import seconds_of
from airflow_provider_bloq.hooks.failures import failing_at_once
from airflow_provider_bloq.hooks.lacking import Lack, tell_once
from airflow_provider_bloq.operators.cancelling import CancellingOperator

if TYPE_CHECKING:
    from airflow_provider_bloq.conditions.condition import Condition
    from airflow_provider_bloq.triggers.cancelling import CancellingTrigger

__all__ = ["WaitingOperator"]

#: Seconds after the deadline at which Airflow itself ends a wait that no triggerer cares for.
BACKSTOP = 120.0


class WaitingOperator(CancellingOperator):
    """An operator that begins something and waits until it is done.

    :param poll_interval: Time between two looks: seconds, or a timedelta; at least 0.1 s.
    :param wait_timeout: Time to wait, from each try's beginning: seconds, or a timedelta. ``execution_timeout``
        shortens it.
    :param deferrable: Whether to wait in the triggerer.
    :param cancel_on_kill: Whether to undo what this task has begun if it is killed.
    :param bloq_conn_id: Id of the connection.
    :raises BloqConfigurationError: A duration is none.
    """

    def __init__(
        self,
        *,
        poll_interval: timedelta | float = 10.0,
        wait_timeout: timedelta | float = 3600.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # Here, since what is wrong with them would else come out when something was begun already. Both are
        # seconds from here on: a trigger's arguments are JSON.
        with failing_at_once():
            where = f"task {self.task_id!r}"
            self.poll_interval = seconds_of("poll_interval", poll_interval, where)
            self.wait_timeout = seconds_of("wait_timeout", wait_timeout, where)
        self.deferrable = deferrable

    @abstractmethod
    def trigger_class(self) -> type[CancellingTrigger]:
        """Return the trigger that waits where this operator is deferrable."""

    def clock(self) -> float:
        """Return the worker's time, in epoch seconds."""
        return time.time()

    @property
    def patience(self) -> float:
        """Seconds that this try may wait."""
        limit = self.execution_timeout
        return self.wait_timeout if limit is None else min(self.wait_timeout, limit.total_seconds())

    def await_condition(self, condition: Condition, deadline: float, *, cancel: bool, **resume: Any) -> None:
        """Wait here until a condition holds; or go on in ``execute_complete`` when it does.

        :param condition: What is waited for.
        :param deadline: Until when, in epoch seconds.
        :param cancel: Whether the trigger has something to undo if the task is killed.
        :param resume: What ``execute_complete`` is to be given.
        :raises BloqError: It will not hold any more.
        :raises BloqWaitTimeout: It does not hold in time.
        """
        from airflow_provider_bloq.operators.looking import until_met

        if self.deferrable:
            self._wait_in_triggerer(condition, deadline, cancel=cancel, **resume)
        observe = condition.target.observer(self.hook)
        self.hook.run(
            until_met(
                condition, observe, poll_interval=self.poll_interval, deadline=deadline, clock=self.clock
            )
        )

    def out_of_execution_time(self) -> None:
        """Do what Airflow does on the worker when the ``execution_timeout`` passes: the task counts as killed."""
        if self.patience < self.wait_timeout:
            self.on_kill()

    def _wait_in_triggerer(
        self, condition: Condition, deadline: float, *, cancel: bool, **resume: Any
    ) -> NoReturn:
        from airflow.triggers.base import BaseTrigger

        from airflow_provider_bloq.conditions.registry import condition_to_json
        from airflow_provider_bloq.operators.looking import BEARS_ALL

        cancels = self.cancel_on_kill and cancel
        if cancels and not hasattr(BaseTrigger, "on_kill"):
            tell_once(Lack.KILLS_OF_TRIGGERS)
        trigger = self.trigger_class()(
            bloq_conn_id=self.bloq_conn_id,
            condition=condition_to_json(condition),
            poll_interval=self.poll_interval,
            deadline=deadline,
            max_consecutive_failures=BEARS_ALL,
            cancel_on_kill=cancels,
        )
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            kwargs={**resume, "deadline": deadline},
            timeout=timedelta(seconds=max(0.0, deadline - self.clock()) + BACKSTOP),
        )
