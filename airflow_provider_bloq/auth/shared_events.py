"""What happens to an access token that a fleet shares."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from airflow_provider_bloq.auth.events import Event, told

__all__ = [
    "LeaseKept",
    "Outrun",
    "SharedRenewalFailed",
    "SharedTokenMissed",
    "SharedTokenWritten",
    "TokenNotShared",
    "TokenTaken",
]


@dataclass(frozen=True, slots=True)
class TokenTaken(Event):
    """An access token was taken from where a fleet shares it.

    :param lives: Seconds that it still lives.
    :param version: Version of the secret; None where it is not known.
    """

    level: ClassVar[int] = logging.INFO

    lives: float
    version: int | None = None

    def __str__(self) -> str:
        version = f", version {self.version}" if self.version is not None else ""
        return f"Access token taken from the shared path, lives {told(self.lives)}{version}"


@dataclass(frozen=True, slots=True)
class SharedRenewalFailed(Event):
    """The shared access token could not be renewed ahead of time.

    :param problem: The error, in words.
    """

    level: ClassVar[int] = logging.WARNING

    problem: str

    def __str__(self) -> str:
        return f"The shared access token could not be renewed ({self.problem}); it still lives."


@dataclass(frozen=True, slots=True)
class SharedTokenWritten(Event):
    """A new access token was written to where a fleet shares it.

    :param version: Version of the secret.
    """

    version: int

    def __str__(self) -> str:
        return f"Shared access token renewed, version {self.version}"


@dataclass(frozen=True, slots=True)
class SharedTokenMissed(Event):
    """No shared access token came in time; this process gets one for itself.

    :param source: Names where it is shared.
    :param waited: For how many seconds it was waited for.
    """

    level: ClassVar[int] = logging.WARNING

    source: str
    waited: float

    def __str__(self) -> str:
        return (
            f"No access token came to {self.source} within {self.waited:.0f} s; getting one for this process."
        )


@dataclass(frozen=True, slots=True)
class TokenNotShared(Event):
    """A new access token could not be written to where a fleet shares it.

    :param problem: The error, in words.
    """

    level: ClassVar[int] = logging.WARNING

    problem: str

    def __str__(self) -> str:
        return f"The new access token serves this process only, it could not be shared: {self.problem}"


@dataclass(frozen=True, slots=True)
class Outrun(Event):
    """Another member of the fleet wrote a new access token first."""

    level: ClassVar[int] = logging.INFO

    def __str__(self) -> str:
        return "Another member was faster; the new access token serves this process only."


@dataclass(frozen=True, slots=True)
class LeaseKept(Event):
    """The right to renew the shared access token could not be given back.

    :param problem: The error, in words.
    """

    problem: str

    def __str__(self) -> str:
        return f"The lease is not given back ({self.problem}); it runs out by itself."
