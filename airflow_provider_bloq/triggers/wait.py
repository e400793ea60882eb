"""Triggers that wait in the triggerer until a condition on a node, cluster or chain holds."""

from __future__ import annotations

import asyncio
import math
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Coroutine
from typing import Any, ClassVar, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_bloq.exceptions import BloqError
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.polling.conditions import Failed, Met, Verdict
from airflow_provider_bloq.polling.poll import DEFAULT_MAX_FAILURES, PAUSE_REQUESTED, FailureBudget
from airflow_provider_bloq.polling.serialization import (
    condition_from_json,
    failed_event,
    met_event,
    timeout_event,
)
from airflow_provider_bloq.polling.shared_polls import PollHandle, shared_polls

__all__ = [
    "BloqClusterStartTrigger",
    "BloqClusterUpdateTrigger",
    "BloqNodeStartTrigger",
    "BloqWaitTrigger",
    "CancellingTrigger",
]

T = TypeVar("T")


class BloqWaitTrigger(BaseTrigger):
    """Polls until a condition holds. It only reads: the worker has made every change.

    Triggers of one triggerer that wait for the same target through the same account share each poll. Each fires
    one event, which :func:`~airflow_provider_bloq.polling.serialization.result_of` reads.

    A subclass with further arguments extends :meth:`serialize`.

    :param bloq_conn_id: Id of the connection.
    :param condition: What to wait for, from
        :func:`~airflow_provider_bloq.polling.serialization.condition_to_json`.
    :param poll_interval: Seconds between two polls. The shortest interval among triggers that share polls counts.
    :param deadline: End of the wait in seconds since the epoch; None for no end. There is one more poll at the
        deadline, even if no triggerer was running then.
    :param memory: The memory of the poll on the worker. After a restart of the triggerer it is used again.
    :param max_consecutive_failures: Failed polls to tolerate in a row; one more ends the wait, as does an error
        that is not transient.
    :param not_before: Do not poll before this time in seconds since the epoch, because the service asked for a
        pause; None if it did not.
    """

    #: Time limit of the poll at the deadline in seconds. Airflow ends the trigger a minute after the deadline.
    final_poll_timeout: ClassVar[float] = 20.0

    def __init__(
        self,
        bloq_conn_id: str,
        condition: dict[str, Any],
        poll_interval: float = 30.0,
        deadline: float | None = None,
        memory: dict[str, Any] | None = None,
        max_consecutive_failures: int = DEFAULT_MAX_FAILURES,
        not_before: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bloq_conn_id = bloq_conn_id
        self.condition = condition
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.memory = memory
        self.max_consecutive_failures = max_consecutive_failures
        self.not_before = not_before

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and arguments from which the triggerer makes the trigger."""
        kind = type(self)
        # Left out if None: during an upgrade, a triggerer of an earlier version does not accept it.
        not_before = {} if self.not_before is None else {"not_before": self.not_before}
        return f"{kind.__module__}.{kind.__qualname__}", {
            "bloq_conn_id": self.bloq_conn_id,
            "condition": self.condition,
            "poll_interval": self.poll_interval,
            "deadline": self.deadline,
            "memory": self.memory,
            "max_consecutive_failures": self.max_consecutive_failures,
            **not_before,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire the event with the outcome."""
        # The subscription ends before the event is fired: Airflow may never resume this generator.
        yield TriggerEvent(await self._event())  # type: ignore[no-untyped-call]

    async def _event(self) -> dict[str, Any]:
        try:
            # In a thread, since it imports the condition's module.
            condition = await asyncio.to_thread(condition_from_json, self.condition)
        except BloqError as error:
            return failed_event(error)
        budget = FailureBudget(condition, self.memory, max_failures=self.max_consecutive_failures)
        if not await self._until_allowed():
            return timeout_event(PAUSE_REQUESTED)
        # After the deadline, an earlier result of another trigger is too old.
        interval = self.poll_interval if self._seconds_left() > 0 else 0.0
        async with shared_polls().subscribe(
            self.bloq_conn_id,
            condition.target,
            interval=interval,
            interest=condition.interest_after(self.memory),
        ) as handle:
            verdict = await self._final_verdict(handle, budget)
        match verdict:
            case Met(result):
                return met_event(result)
            case Failed(failure):
                return failed_event(failure)
        return timeout_event(budget.reason)

    async def _until_allowed(self) -> bool:
        """Wait for the end of the requested pause; return whether there is time left to poll then."""
        now, allowed = time.time(), self.not_before or 0.0
        end = math.inf if self.deadline is None else max(self.deadline, now)
        await asyncio.sleep(max(0.0, min(allowed, end) - now))
        return allowed <= end

    async def _final_verdict(self, handle: PollHandle, budget: FailureBudget) -> Verdict | None:
        if (left := self._seconds_left()) > 0:
            verdict = await _within(left, self._until_decided(handle, budget))
            if verdict is not None:
                return verdict
            handle.poll_soon()
        return await _within(self.final_poll_timeout, self._next_verdict(handle, budget))

    async def _until_decided(self, handle: PollHandle, budget: FailureBudget) -> Met | Failed:
        while True:
            verdict = await self._next_verdict(handle, budget)
            if isinstance(verdict, Met | Failed):
                return verdict
            self.log.info("Waiting: %s", verdict.reason)

    async def _next_verdict(self, handle: PollHandle, budget: FailureBudget) -> Verdict:
        try:
            return budget.succeeded(await handle.result())
        except BloqError as error:
            return budget.failed(error)

    def _seconds_left(self) -> float:
        return math.inf if self.deadline is None else self.deadline - time.time()


async def _within(seconds: float, work: Coroutine[Any, Any, T]) -> T | None:
    """Await work for some seconds; return None if it has not ended by then."""
    try:
        async with asyncio.timeout(seconds if seconds < math.inf else None) as limit:
            return await work
    except TimeoutError:
        # The work itself may raise one.
        if not limit.expired():
            raise
        return None


class CancellingTrigger(BloqWaitTrigger):
    """A waiting trigger that can undo what its task began when a user kills the task.

    A user kills a deferred task by marking it as failed or successful, or by clearing it. Airflow 3.3 reports
    this to the trigger; 3.1 and 3.2 do not. A restart of the triggerer is not reported.

    :param cancel_on_kill: Whether to undo it.
    """

    def __init__(self, *args: Any, cancel_on_kill: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        kind, arguments = super().serialize()
        return kind, {**arguments, "cancel_on_kill": self.cancel_on_kill}

    async def on_kill(self) -> None:
        """Undo what the task began if ``cancel_on_kill`` is set."""
        if self.cancel_on_kill:
            async with BloqAsyncHook(self.bloq_conn_id) as hook:
                await self.cancel(hook)

    @abstractmethod
    async def cancel(self, hook: BloqAsyncHook) -> None:
        """Undo what the task began."""


class BloqNodeStartTrigger(CancellingTrigger):
    """Waits until a node has started; deletes only the node that its condition names."""

    async def cancel(self, hook: BloqAsyncHook) -> None:
        node_id = self.condition["node_id"]
        self.log.info("The task was killed: deleting %s.", node_id)
        await hook.nodes.delete(node_id)


class BloqClusterStartTrigger(CancellingTrigger):
    """Waits until a cluster has started; deletes only the cluster that its condition names."""

    async def cancel(self, hook: BloqAsyncHook) -> None:
        cluster_id = self.condition["cluster_id"]
        self.log.info("The task was killed: deleting %s.", cluster_id)
        await hook.clusters.delete(cluster_id)


class BloqClusterUpdateTrigger(CancellingTrigger):
    """Waits for the update of a cluster; aborts only a change to the service that its condition names."""

    async def cancel(self, hook: BloqAsyncHook) -> None:
        from airflow_provider_bloq.nodes.client import abort_update

        cluster_id, service_id = self.condition["cluster_id"], self.condition["service_id"]
        if service_id is not None:
            self.log.info("The task was killed: aborting the update of %s.", cluster_id)
            await hook.run(abort_update(hook.clusters, cluster_id, only_to=service_id))
