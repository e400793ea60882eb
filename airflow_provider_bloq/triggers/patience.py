"""One wait for one condition: what it remembers, and how many failed looks in a row it bears.

Sensors that poke and triggers that poll wait by this same rule. It does no I/O and keeps no time.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_bloq.conditions.condition import Condition, Failed, Memory, Verdict, Waiting
from airflow_provider_bloq.exceptions import BloqError, BloqRateLimited
from airflow_provider_bloq.triggers.pauses import may_pass, pause_after

__all__ = ["ASKED", "DEFAULT_PATIENCE", "Wait"]

#: Failed looks in a row that are borne, unless another number is given. Each of them has already been
#: tried several times by the client.
DEFAULT_PATIENCE = 5
#: What is still missing where it may not be looked.
ASKED = "the service asked for fewer requests"


class Wait:
    """One wait, from look to look.

    :param condition: What is waited for.
    :param memory: What is remembered from before, if anything.
    :param failures: How many of the latest looks failed.
    :param patience: How many may fail in a row; one more ends the wait.
    """

    def __init__(
        self,
        condition: Condition,
        memory: Memory | None = None,
        *,
        failures: int = 0,
        patience: int = DEFAULT_PATIENCE,
    ) -> None:
        self.condition = condition
        self.memory = memory
        self.failures = failures
        self.patience = patience
        #: What is still missing, for a person.
        self.reason = "nothing was seen yet"
        #: Seconds to let the service be after the latest look, if that failed.
        self.pause = 0.0
        #: Those of them that the service has asked for: no hurry is a reason to look sooner.
        self.asked = 0.0

    def saw(self, seen: Any) -> Verdict:
        """Judge what a look gave."""
        verdict = self.condition.judge(seen, self.memory)
        self.failures = 0
        self.pause = self.asked = 0.0
        if isinstance(verdict, Waiting):
            self.memory = verdict.memory
            self.reason = verdict.reason
        return verdict

    def missed(self, error: BloqError) -> Waiting | Failed:
        """Judge a look that failed: whether the next one may still succeed."""
        self.failures += 1
        self.pause = pause_after(self.failures, error)
        is_told = isinstance(error, BloqRateLimited) and error.retry_after is not None
        self.asked = self.pause if is_told else 0.0
        if not may_pass(error) or self.failures > self.patience:
            return Failed(error)
        self.reason = f"{self.failures} of at most {self.patience} looks in a row failed: {error}"
        return Waiting(self.reason, self.memory)
