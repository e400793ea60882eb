"""What a check of a connection finds, stage by stage, as values."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from airflow_provider_bloq.exceptions import (
    BloqCertificateError,
    BloqClientKeysRejected,
    BloqConfigurationError,
    BloqRateLimited,
    BloqTokenRejected,
    BloqUnavailable,
    BloqVaultUnavailable,
)
from airflow_provider_bloq.flow.effects import Flow

__all__ = [
    "CheckOutcome",
    "Finding",
    "Found",
    "Stage",
    "failed",
    "pinning",
]


class CheckOutcome(StrEnum):
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
    outcome: CheckOutcome = CheckOutcome.PASSED
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
    outcome: CheckOutcome
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


#: OpenSSL's words for a certificate that is out of its time, as this machine's clock has it.
_OUT_OF_TIME = ("certificate has expired", "certificate is not yet valid")


def failed(stage: str, error: Exception, seconds: float, remedy: str = "") -> Finding:
    """Make the finding of a stage that an error ended.

    :param stage: The stage.
    :param error: The error; there is nothing secret in its text.
    :param seconds: How long the stage took.
    :param remedy: What to look at where a service could not be reached.
    """
    if isinstance(error, BloqConfigurationError):
        # Its text has the remedies already.
        where = f"{error.where}: " if error.where else ""
        cause = where + "; ".join(f"{problem.field}: {problem.problem}" for problem in error.problems)
        remedy = " ".join(_sentence(problem.remedy) for problem in error.problems)
        return Finding(stage, CheckOutcome.FAILED, cause, remedy, seconds, str(error))
    remedy = _remedy(error, remedy)
    return Finding(stage, CheckOutcome.FAILED, str(error), remedy, seconds, f"{error} {remedy}".rstrip())


def pinning(node_id: str, fingerprint: str | None) -> str:
    """Say how a certificate is pinned, once it is known to be right.

    :param node_id: Id of the node.
    :param fingerprint: What it shows; None where that is not known.
    """
    extra = json.dumps({"node_fingerprints": {node_id: [fingerprint or "..."]}})
    return f"Once you know the fingerprint to be right, put {extra} into the extra of the connection."


def _remedy(error: Exception, unreachable: str) -> str:
    match error:
        case BloqVaultUnavailable():
            return (
                "See that Vault runs and is unsealed (vault status tells, vault operator unseal opens it), and that "
                "this machine can reach it."
            )
        case BloqClientKeysRejected():
            return "If this pair is good, it is one of another Accounts: check host and environment."
        case BloqTokenRejected():
            return "See that the account may use this service, and that its URL is one of Bloq's."
        case BloqCertificateError():
            return "Ask whoever runs the node whether its certificate was renewed."
        case BloqRateLimited():
            return "Try again later."
        case BloqUnavailable() if any(words in str(error) for words in _OUT_OF_TIME):
            return "See that the clock of this machine is right, and renew the certificate if it is."
        case BloqUnavailable():
            return unreachable
    return ""


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
