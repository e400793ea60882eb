"""What a check of a connection finds, stage by stage, as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from airflow_provider_bloq.auth.flow import Flow

__all__ = ["Finding", "Found", "Outcome", "Stage"]


class Outcome(StrEnum):
    """How a stage ended."""

    PASSED = "passed"
    #: It works, but somebody should look.
    WARNED = "warned"
    FAILED = "failed"
    #: It could not be tried, since another stage failed, or there was nothing to try.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Found:
    """What a stage returns that was not ended by an error.

    :param text: What was found, for a person. Nothing secret.
    :param outcome: How it ended.
    :param remedy: What to do about it, where something is to be done.
    """

    text: str
    outcome: Outcome = Outcome.PASSED
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the check.

    :param name: What is looked at.
    :param look: Makes the flow that looks.
    :param remedy: What to look at where a service could not be reached.
    :param needs: Names of the stages without which this one cannot be tried.
    """

    name: str
    look: Callable[[], Flow[Found]]
    remedy: str = ""
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one stage.

    :param stage: What was looked at.
    :param outcome: How it ended.
    :param found: What was found, or the cause of the failure.
    :param remedy: What to do about it; empty where nothing is to be done.
    :param seconds: How long it took.
    :param told: Cause and remedy as one text.
    """

    stage: str
    outcome: Outcome
    found: str
    remedy: str = ""
    seconds: float = 0.0
    told: str = field(default="", compare=False)

    def as_json(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        return {
            "stage": self.stage,
            "outcome": str(self.outcome),
            "found": self.found,
            "remedy": self.remedy,
            "seconds": round(self.seconds, 3),
        }
