"""``BloqWaitTrigger``: waits in the triggerer until a condition on a node, cluster or chain holds."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, ClassVar, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_bloq.conditions.condition import Failed, Met, Verdict
from airflow_provider_bloq.conditions.registry import condition_from_json
from airflow_provider_bloq.exceptions import BloqError
from airflow_provider_bloq.triggers.outcome import failed_event, met_event, timeout_event
from airflow_provider_bloq.triggers.patience import ASKED, DEFAULT_PATIENCE, Wait
from airflow_provider_bloq.triggers.polls import Watch, shared_polls

__all__ = ["BloqWaitTrigger"]

T = TypeVar("T")


class BloqWaitTrigger(BaseTrigger):
    """Look again and again until a condition holds. It only reads: what is to be done, the worker has done.

    All triggers of a triggerer that look at the same thing through the same account look together.

    It gives one event, which :func:`~airflow_provider_bloq.triggers.outcome.result_of` reads.

    A subclass that takes further arguments calls ``super().serialize()`` and adds them.

    :param bloq_conn_id: Id of the connection.
    :param condition: What is waited for, as :func:`~airflow_provider_bloq.conditions.registry.condition_to_json`
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
        wait = Wait(condition, self.memory, patience=self.max_consecutive_failures)
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

    async def _verdict(self, watch: Watch, wait: Wait) -> Verdict | None:
        if (left := self._seconds_left()) > 0:
            verdict = await _within(left, self._until_decided(watch, wait))
            if verdict is not None:
                return verdict
            watch.hasten()
        return await _within(self.last_look, self._looked(watch, wait))

    async def _until_decided(self, watch: Watch, wait: Wait) -> Met | Failed:
        while True:
            verdict = await self._looked(watch, wait)
            if isinstance(verdict, Met | Failed):
                return verdict
            self.log.info("Waiting: %s", verdict.reason)

    async def _looked(self, watch: Watch, wait: Wait) -> Verdict:
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
