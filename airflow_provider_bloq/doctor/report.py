"""The findings of a connection check: one per stage, with cause and remedy of each failure."""

from __future__ import annotations

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

__all__ = [
    "CheckOutcome",
    "Finding",
    "failure_of",
]


class CheckOutcome(StrEnum):
    """How a stage ended."""

    PASSED = "passed"
    #: It works but needs attention.
    WARNED = "warned"
    FAILED = "failed"
    #: It was not tried, since another stage failed or there was nothing to try.
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """The finding of one stage. Contains no secret.

    :param stage: Name of the stage.
    :param outcome: How it ended.
    :param found: What was found, or the cause of the failure.
    :param remedy: What to do about it; empty if nothing.
    :param seconds: How long the stage took.
    :param message: Cause and remedy of a failure as one text.
    """

    stage: str
    outcome: CheckOutcome
    found: str
    remedy: str = ""
    seconds: float = 0.0
    message: str = field(default="", compare=False)

    def as_json(self) -> dict[str, Any]:
        """Return the finding as plain JSON."""
        return {
            "stage": self.stage,
            "outcome": str(self.outcome),
            "found": self.found,
            "remedy": self.remedy,
            "seconds": round(self.seconds, 3),
        }


def failure_of(stage: str, error: Exception, seconds: float, unreachable: str = "") -> Finding:
    """Return the finding of a stage that ended with an error.

    :param stage: Name of the stage.
    :param error: The error; its text contains no secret.
    :param seconds: How long the stage took.
    :param unreachable: Remedy if a service could not be reached.
    """
    cause = message = str(error)
    if isinstance(error, BloqConfigurationError):
        # Its text already has the remedies.
        where = f"{error.where}: " if error.where else ""
        cause = where + "; ".join(f"{problem.field}: {problem.problem}" for problem in error.problems)
        remedy = " ".join(_sentence(problem.remedy) for problem in error.problems)
    else:
        remedy = _remedy(error, unreachable)
        message = f"{error} {remedy}".rstrip()
    return Finding(stage, CheckOutcome.FAILED, cause, remedy, seconds, message)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


#: OpenSSL's words for a certificate outside its validity period by this machine's clock.
_NOT_VALID_NOW = ("certificate has expired", "certificate is not yet valid")


def _remedy(error: Exception, unreachable: str) -> str:
    match error:
        case BloqVaultUnavailable():
            return (
                "Make sure that Vault runs and is unsealed (check with vault status, unseal with vault operator "
                "unseal), and that this machine can reach it."
            )
        case BloqClientKeysRejected():
            return "If this pair is valid, it belongs to another Accounts: check host and environment."
        case BloqTokenRejected():
            return "Check that the account may use this service, and that its URL is one of Bloq's."
        case BloqCertificateError():
            return "Ask the operator of the node whether its certificate was renewed."
        case BloqRateLimited():
            return "Try again later."
        case BloqUnavailable() if any(words in str(error) for words in _NOT_VALID_NOW):
            return "Check the clock of this machine; if it is right, renew the certificate."
        case BloqUnavailable():
            return unreachable
    return ""
