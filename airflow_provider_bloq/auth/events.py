"""What happens to tokens and requests, as values that hold nothing secret: for logs, metrics and spans.

A flow tells of them by :func:`~airflow_provider_bloq.auth.flow.tell`; what becomes of that is its driver's
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
    "Event",
    "HeldBack",
    "Looked",
    "Observer",
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
