"""What happens to tokens and requests, as values that hold nothing secret: for logs, metrics and spans.

A flow tells of them by :func:`~airflow_provider_bloq.flow.effects.emit`; what becomes of that is its driver's
business, see :class:`Observer`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

__all__ = [
    "Called",
    "EarlyRenewalFailed",
    "Event",
    "HeldBack",
    "KeysChanged",
    "KeysRead",
    "KeysRefused",
    "LeaseKept",
    "Looked",
    "Observer",
    "Outrun",
    "RefreshRefused",
    "SharedRenewalFailed",
    "SharedTokenMissed",
    "SharedTokenWritten",
    "TokenMinted",
    "TokenNotShared",
    "TokenRefreshed",
    "TokenRefused",
    "TokenSurvived",
    "TokenTaken",
    "log_event",
    "told",
]


log = logging.getLogger(__name__)


class Event(ABC):
    """Something that happened; its text is the line that a log has of it."""

    #: Level of that line, as of :mod:`logging`.
    level: ClassVar[int] = logging.DEBUG

    @abstractmethod
    def __str__(self) -> str:
        """Tell it in one line, without anything secret."""


#: Is told of each event as it happens. Must not raise, block or take long: a token may be waited for.
Observer: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class HeldBack(Event):
    """A request has to wait, since a service asked for fewer of them, or the connection does.

    :param seconds: For how long.
    :param by_service: Whether the service asked; else it is the connection's ``requests_per_second``.
    """

    seconds: float
    by_service: bool = True

    def __str__(self) -> str:
        why = "as the service asks" if self.by_service else "to keep to requests_per_second"
        return f"Held back for {self.seconds:.1f} s, {why}"


@dataclass(frozen=True, slots=True)
class Looked(Event):
    """One look was made for all who wait for the same thing.

    :param waiters: How many they are.
    """

    waiters: int

    def __str__(self) -> str:
        return f"Looked once for {self.waiters} waiting"


@dataclass(frozen=True, slots=True)
class Called(Event):
    """A request was answered, or came to nothing.

    :param method: HTTP method.
    :param url: URL, without its query; a path key in it is hidden.
    :param elapsed: Seconds from sending it to the end of the answer.
    :param status: HTTP status; None where there was no answer.
    :param date: The service's ``Date`` header in epoch seconds; None without one that can be read.
    :param failure: Name of the error, where there was no answer.
    """

    method: str
    url: str
    elapsed: float
    status: int | None = None
    date: float | None = None
    failure: str | None = None

    def __str__(self) -> str:
        outcome = self.failure if self.status is None else self.status
        return f"{self.method} {self.url}: {outcome} after {self.elapsed:.3f} s"


def log_event(event: Event) -> None:
    """Write the line of an event into the log; what a driver does with events unless it is told otherwise."""
    log.log(event.level, "%s", event)


def told(seconds: float) -> str:
    """Write a time for a person: in minutes from two of them on."""
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


@dataclass(frozen=True, slots=True)
class TokenMinted(Event):
    """An access token was made from the client keys.

    :param lives: Seconds that it lives.
    :param key_version: KV version of the client keys; None without versions.
    """

    level: ClassVar[int] = logging.INFO

    lives: float
    key_version: int | None = None

    def __str__(self) -> str:
        version = f", keys version {self.key_version}" if self.key_version is not None else ""
        return f"Access token minted, lives {told(self.lives)}{version}"


@dataclass(frozen=True, slots=True)
class TokenRefreshed(Event):
    """An access token was made from the refresh token.

    :param lives: Seconds that it lives.
    """

    level: ClassVar[int] = logging.INFO

    lives: float

    def __str__(self) -> str:
        return f"Access token refreshed, lives {told(self.lives)}"


@dataclass(frozen=True, slots=True)
class TokenRefused(Event):
    """A service refused the access token; it is shown another one if there is one.

    :param method: HTTP method of the request.
    :param url: Its URL, without a query.
    :param status: The HTTP status.
    """

    level: ClassVar[int] = logging.INFO

    method: str
    url: str
    status: int

    def __str__(self) -> str:
        return f"{self.method} {self.url} refuses the access token ({self.status}); getting another one"


@dataclass(frozen=True, slots=True)
class TokenSurvived(Event):
    """A request that was refused went through with another access token.

    :param climbs: How many other tokens that took.
    """

    climbs: int

    def __str__(self) -> str:
        return f"The call was taken with access token number {self.climbs + 1}"


@dataclass(frozen=True, slots=True)
class RefreshRefused(Event):
    """Accounts gives no access token for the refresh token, which is not shown again.

    :param status: The HTTP status.
    """

    level: ClassVar[int] = logging.INFO

    status: int

    def __str__(self) -> str:
        return f"Accounts refuses the refresh token ({self.status}); minting with the client keys."


@dataclass(frozen=True, slots=True)
class KeysRead(Event):
    """The client keys were read from their source.

    :param source: Names the source.
    :param version: KV version of the client keys; None without versions.
    """

    source: str
    version: int | None = None

    def __str__(self) -> str:
        version = f", version {self.version}" if self.version is not None else ""
        return f"Client keys read from {self.source}{version}"


@dataclass(frozen=True, slots=True)
class KeysRefused(Event):
    """Accounts refuses the client keys, which are read again.

    :param status: The HTTP status.
    :param source: Names where they come from.
    """

    level: ClassVar[int] = logging.INFO

    status: int
    source: str

    def __str__(self) -> str:
        return f"Accounts refuses the client keys ({self.status}); reading {self.source} again."


@dataclass(frozen=True, slots=True)
class KeysChanged(Event):
    """The client keys, read again, are others than before.

    :param source: Names where they come from.
    :param before: KV version before; None without versions.
    :param after: KV version now.
    """

    level: ClassVar[int] = logging.INFO

    source: str
    before: int | None
    after: int | None

    def __str__(self) -> str:
        if self.before == self.after:
            return f"Client keys changed in {self.source}"
        return f"Client keys version {self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class EarlyRenewalFailed(Event):
    """A renewal ahead of time failed; the access token that is held still lives.

    :param problem: The error, in words.
    """

    level: ClassVar[int] = logging.WARNING

    problem: str

    def __str__(self) -> str:
        return f"An early renewal failed ({self.problem}); the access token still lives and is used on."


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
