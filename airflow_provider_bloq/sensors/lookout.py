"""How a sensor looks from the worker: with what it remembers, and no sooner than it may."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from airflow_provider_bloq.conditions.condition import Condition, Failed, Met, Verdict, Waiting
from airflow_provider_bloq.conditions.registry import condition_to_json
from airflow_provider_bloq.exceptions import BloqError, BloqRateLimited
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.sensors.notes import Notes
from airflow_provider_bloq.triggers.patience import Wait

__all__ = ["Lookout"]


class Lookout:
    """Looks for one condition, again and again.

    :param hook: The hook of the connection.
    :param condition: What is waited for.
    :param patience: Looks that may fail in a row.
    :param store: Where to remember what the next process must know; None to remember it here only.
    :param try_number: The number of the task's try.
    :param clock: Tells the seconds since the epoch.
    """

    def __init__(
        self,
        hook: BloqHook,
        condition: Condition,
        *,
        patience: int,
        store: Any = None,
        try_number: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._notes = Notes(store, condition_to_json(condition), try_number)
        noted = self._notes.read()
        self._wait = Wait(
            condition, noted.get("memory"), failures=noted.get("failures", 0), patience=patience
        )
        self._not_before: float = noted.get("not_before", 0.0)
        self._clock = clock
        self._hook = hook
        self._observe: Any = None

    def look(self) -> Verdict:
        """Look once; not at all while the service has asked to be left alone."""
        if self._clock() < self._not_before:
            return Waiting("the service asked for fewer requests", self._wait.memory)
        verdict = self._judged()
        if isinstance(verdict, Met | Failed):
            self.forget()
        else:
            self._remember()
        return verdict

    def forget(self) -> None:
        """Remember nothing any more: the wait is over."""
        self._notes.clear()

    def _judged(self) -> Verdict:
        wait = self._wait
        try:
            if self._observe is None:
                self._observe = wait.condition.target.observer(self._hook)
            interest = wait.condition.interest_after(wait.memory)
            interests = frozenset([interest] if interest is not None else [])
            return wait.saw(self._hook.run(self._observe(interests)))
        except BloqError as error:
            if isinstance(error, BloqRateLimited) and error.retry_after is not None:
                self._not_before = self._clock() + error.retry_after
            return wait.missed(error)

    def _remember(self) -> None:
        noted = {
            "memory": self._wait.memory,
            "failures": self._wait.failures,
            "not_before": self._not_before,
        }
        self._notes.write(noted)
