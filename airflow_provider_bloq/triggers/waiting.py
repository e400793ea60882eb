"""``BloqWaitTrigger``: waits in the triggerer until a condition on a node, cluster or chain holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_bloq.conditions.condition import Condition, Failed, Met
from airflow_provider_bloq.conditions.registry import condition_from_json
from airflow_provider_bloq.exceptions import BloqError
from airflow_provider_bloq.triggers.outcome import failed_event, met_event, timeout_event
from airflow_provider_bloq.triggers.patience import DEFAULT_PATIENCE, Wait
from airflow_provider_bloq.triggers.polls import shared_polls

__all__ = ["BloqWaitTrigger"]


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
        it outlives this process.
    :param memory: What the look that was made before remembers. After a restart of the triggerer it starts
        from here again.
    :param max_consecutive_failures: Looks that may fail in a row; one more ends the wait. Only failures that
        can pass are borne.
    """

    def __init__(
        self,
        bloq_conn_id: str,
        condition: dict[str, Any],
        poll_interval: float = 30.0,
        deadline: float | None = None,
        memory: dict[str, Any] | None = None,
        max_consecutive_failures: int = DEFAULT_PATIENCE,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bloq_conn_id = bloq_conn_id
        self.condition = condition
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.memory = memory
        self.max_consecutive_failures = max_consecutive_failures

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments by which the triggerer makes it anew."""
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {
            "bloq_conn_id": self.bloq_conn_id,
            "condition": self.condition,
            "poll_interval": self.poll_interval,
            "deadline": self.deadline,
            "memory": self.memory,
            "max_consecutive_failures": self.max_consecutive_failures,
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
        try:
            async with asyncio.timeout(self._seconds_left()) as limit:
                verdict = await self._until_decided(condition, wait)
        except TimeoutError:
            if not limit.expired():
                raise
            return timeout_event(wait.reason)
        return met_event(verdict.result) if isinstance(verdict, Met) else failed_event(verdict.error)

    async def _until_decided(self, condition: Condition, wait: Wait) -> Met | Failed:
        async with shared_polls().watch(
            self.bloq_conn_id,
            condition.target,
            interval=self.poll_interval,
            interest=condition.interest_after(self.memory),
        ) as watch:
            while True:
                try:
                    verdict = wait.saw(await watch.look())
                except BloqError as error:
                    verdict = wait.missed(error)
                if isinstance(verdict, Met | Failed):
                    return verdict
                self.log.info("Waiting: %s", verdict.reason)

    def _seconds_left(self) -> float | None:
        return None if self.deadline is None else self.deadline - time.time()
