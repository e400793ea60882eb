"""``BloqWaitTrigger``: waits in the triggerer until a condition on a node, cluster or chain holds."""

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
from airflow_provider_bloq.nodes.client import abort_update
from airflow_provider_bloq.polling.conditions import Failed, Met, Verdict
from airflow_provider_bloq.polling.poll import ASKED, DEFAULT_PATIENCE, FailureBudget
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
    "BloqStartTrigger",
    "BloqWaitTrigger",
    "CancellingTrigger",
]


T = TypeVar("T")


class BloqWaitTrigger(BaseTrigger):
    """Look again and again until a condition holds. It only reads: what is to be done, the worker has done.

    All triggers of a triggerer that look at the same thing through the same account look together.

    It gives one event, which :func:`~airflow_provider_bloq.polling.serialization.result_of` reads.

    A subclass that takes further arguments calls ``super().serialize()`` and adds them.

    :param bloq_conn_id: Id of the connection.
    :param condition: What is waited for, as :func:`~airflow_provider_bloq.polling.serialization.condition_to_json`
        writes it.
    :param poll_interval: Seconds between two looks. Those who look together do so at the shortest interval
        among them.
    :param deadline: Until when, in seconds since the epoch; None for no end. It is on the wall clock, since
        it outlives this process. There is one more look when it has come, also where it came while no triggerer
        ran.
    :param memory: What the look that was made before remembers. After a restart of the triggerer it starts
        from here again.
    :param max_consecutive_failures: Looks that may fail in a row; one more ends the wait. Only failures that
        can pass are borne.
    :param not_before: Until when the service has asked to be left alone, in seconds since the epoch; None if it
        has not.
    """

    #: Seconds that the look at the deadline may take. Airflow ends a trigger a minute after that, or later.
    last_look: ClassVar[float] = 20.0

    def __init__(
        self,
        bloq_conn_id: str,
        condition: dict[str, Any],
        poll_interval: float = 30.0,
        deadline: float | None = None,
        memory: dict[str, Any] | None = None,
        max_consecutive_failures: int = DEFAULT_PATIENCE,
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
        """Return the class and the arguments by which the triggerer makes it anew."""
        kind = type(self)
        # A triggerer of a former version, as during an upgrade, does not know it.
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
        """Wait; give the event that tells how it ended."""
        # The poll is left before the event goes out: nobody need resume this generator for it to end.
        yield TriggerEvent(await self._event())  # type: ignore[no-untyped-call]

    async def _event(self) -> dict[str, Any]:
        try:
            condition = condition_from_json(self.condition)
        except BloqError as error:
            return failed_event(error)
        wait = FailureBudget(condition, self.memory, patience=self.max_consecutive_failures)
        if not await self._until_allowed():
            return timeout_event(ASKED)
        # Who comes when it is over is not content with what others have seen before that.
        interval = self.poll_interval if self._seconds_left() > 0 else 0.0
        async with shared_polls().watch(
            self.bloq_conn_id,
            condition.target,
            interval=interval,
            interest=condition.interest_after(self.memory),
        ) as watch:
            verdict = await self._verdict(watch, wait)
        match verdict:
            case Met(result):
                return met_event(result)
            case Failed(failure):
                return failed_event(failure)
        return timeout_event(wait.reason)

    async def _until_allowed(self) -> bool:
        """Leave the service alone for as long as it asked for; tell whether there is still time to look then."""
        now, allowed = time.time(), self.not_before or 0.0
        end = math.inf if self.deadline is None else max(self.deadline, now)
        await asyncio.sleep(max(0.0, min(allowed, end) - now))
        return allowed <= end

    async def _verdict(self, watch: PollHandle, wait: FailureBudget) -> Verdict | None:
        if (left := self._seconds_left()) > 0:
            verdict = await _within(left, self._until_decided(watch, wait))
            if verdict is not None:
                return verdict
            watch.hasten()
        return await _within(self.last_look, self._looked(watch, wait))

    async def _until_decided(self, watch: PollHandle, wait: FailureBudget) -> Met | Failed:
        while True:
            verdict = await self._looked(watch, wait)
            if isinstance(verdict, Met | Failed):
                return verdict
            self.log.info("Waiting: %s", verdict.reason)

    async def _looked(self, watch: PollHandle, wait: FailureBudget) -> Verdict:
        try:
            return wait.saw(await watch.look())
        except BloqError as error:
            return wait.missed(error)

    def _seconds_left(self) -> float:
        return math.inf if self.deadline is None else self.deadline - time.time()


async def _within(seconds: float, work: Coroutine[Any, Any, T]) -> T | None:
    """Await work for some time; None where it has not ended by then."""
    try:
        async with asyncio.timeout(seconds if seconds < math.inf else None) as limit:
            return await work
    except TimeoutError:
        # Somebody else's may come out of the work.
        if not limit.expired():
            raise
        return None


class CancellingTrigger(BloqWaitTrigger):
    """Waits like its base class.

    A person kills a waiting task by marking it as failed or successful, or by clearing it. Airflow 3.3 tells the
    trigger so; 3.1 and 3.2 do not, and a restart of the triggerer is none.

    :param cancel_on_kill: Whether to undo then what the task has begun.
    """

    def __init__(self, *args: Any, cancel_on_kill: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments by which the triggerer makes it anew."""
        kind, arguments = super().serialize()
        return kind, {**arguments, "cancel_on_kill": self.cancel_on_kill}

    async def on_kill(self) -> None:
        """Undo what the task has begun, if ``cancel_on_kill`` says so."""
        if self.cancel_on_kill:
            async with BloqAsyncHook(self.bloq_conn_id) as hook:
                await self.cancel(hook)

    @abstractmethod
    async def cancel(self, hook: BloqAsyncHook) -> None:
        """Undo what the task has begun."""


class BloqStartTrigger(CancellingTrigger):
    """What the two have in common. They delete nothing but what their condition names."""


class BloqNodeStartTrigger(BloqStartTrigger):
    """Waits until a node has started, see :class:`~airflow_provider_bloq.nodes.conditions.NodeState`."""

    async def cancel(self, hook: BloqAsyncHook) -> None:
        """Delete the node; see :meth:`.CancellingTrigger.cancel`."""
        node_id = self.condition["node_id"]
        self.log.info("Deleting %s, since the task is killed.", node_id)
        await hook.nodes.delete(node_id)


class BloqClusterStartTrigger(BloqStartTrigger):
    """Waits until a cluster has started, see :class:`~airflow_provider_bloq.nodes.conditions.ClusterState`."""

    async def cancel(self, hook: BloqAsyncHook) -> None:
        """Delete the cluster; see :meth:`.CancellingTrigger.cancel`."""
        cluster_id = self.condition["cluster_id"]
        self.log.info("Deleting %s, since the task is killed.", cluster_id)
        await hook.clusters.delete(cluster_id)


class BloqClusterUpdateTrigger(CancellingTrigger):
    """Waits for an update, see :class:`~airflow_provider_bloq.nodes.conditions.ClusterUpdated`.

    It aborts only a change to the service that its condition names.
    """

    async def cancel(self, hook: BloqAsyncHook) -> None:
        """Abort the change of service; see :meth:`.CancellingTrigger.cancel`."""
        cluster_id, service_id = self.condition["cluster_id"], self.condition["service_id"]
        if service_id is not None:
            self.log.info("Aborting the update of %s, since the task is killed.", cluster_id)
            await hook.run(abort_update(hook.clusters, cluster_id, only_to=service_id))
