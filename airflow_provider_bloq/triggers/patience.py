"""One wait for one condition: what it remembers, and how many failed looks in a row it bears.

Sensors that poke and triggers that poll wait by this same rule. It does no I/O and keeps no time.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_bloq.conditions.condition import Condition, Failed, Memory, Verdict, Waiting
from airflow_provider_bloq.exceptions import BloqError
from airflow_provider_bloq.triggers.pauses import may_pass

__all__ = ["DEFAULT_PATIENCE", "Wait"]

#: Failed looks in a row that are borne, unless another number is given. Each of them has already been
#: tried several times by the client.
DEFAULT_PATIENCE = 5


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

    def saw(self, seen: Any) -> Verdict:
        """Judge what a look gave."""
        verdict = self.condition.judge(seen, self.memory)
        self.failures = 0
        if isinstance(verdict, Waiting):
            self.memory = verdict.memory
            self.reason = verdict.reason
        return verdict

    def missed(self, error: BloqError) -> Waiting | Failed:
        """Judge a look that failed: whether the next one may still succeed."""
        self.failures += 1
        if not may_pass(error) or self.failures > self.patience:
            return Failed(error)
        self.reason = f"{self.failures} of at most {self.patience} looks in a row failed: {error}"
        return Waiting(self.reason, self.memory)
