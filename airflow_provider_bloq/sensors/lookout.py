"""How a sensor looks from the worker: with what it remembers, and no sooner than it may."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from airflow_provider_bloq.conditions.condition import Condition, Failed, Met, Verdict, Waiting
from airflow_provider_bloq.conditions.registry import condition_to_json
from airflow_provider_bloq.exceptions import BloqError
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.sensors.notes import Notes
from airflow_provider_bloq.triggers.in_time import in_time
from airflow_provider_bloq.triggers.patience import ASKED, Wait

__all__ = ["Lookout"]


class Lookout:
    """Looks for one condition, again and again.

    :param hook: The hook of the connection.
    :param condition: What is waited for.
    :param patience: Looks that may fail in a row.
    :param deadline: The end of the wait, in epoch seconds: no look goes on beyond it only to try again.
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
        deadline: float = math.inf,
        store: Any = None,
        try_number: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._notes = Notes(store, condition_to_json(condition), try_number)
        noted = self._notes.read()
        self._wait = Wait(
            condition, noted.get("memory"), failures=noted.get("failures", 0), patience=patience
        )
        #: Until when the service has asked to be left alone, in epoch seconds; 0 if it has not.
        self.not_before: float = noted.get("not_before", 0.0)
        self._deadline = deadline
        self._clock = clock
        self._hook = hook
        self._observe: Any = None

    def look(self) -> Verdict:
        """Look once; not at all while the service has asked to be left alone."""
        if self._clock() < self.not_before:
            return Waiting(ASKED, self._wait.memory)
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
            look = in_time(self._observe(interests), self._deadline, self._clock)
            return wait.saw(self._hook.run(look))
        except BloqError as error:
            verdict = wait.missed(error)
            if wait.asked:
                self.not_before = self._clock() + wait.asked
            return verdict

    def _remember(self) -> None:
        noted = {
            "memory": self._wait.memory,
            "failures": self._wait.failures,
            "not_before": self.not_before,
        }
        self._notes.write(noted)
