"""Events about tokens and requests, for logs, metrics and traces. They hold no secret.

A flow reports one with :func:`~airflow_provider_bloq.flow.effects.emit`; its driver passes it to an :class:`Observer`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

__all__ = [
    "Event",
    "EventName",
    "Observer",
    "call_event",
    "duration",
    "held_back",
    "log_event",
]

log = logging.getLogger(__name__)

#: Most are also the names of metrics, below ``bloq.``: see ``docs/metrics.md``.
EventName: TypeAlias = Literal[
    "call",
    "held_back",
    "keys.changed",
    "keys.read",
    "keys.refused",
    "poll",
    "token.early_renewal_failed",
    "token.lease_kept",
    "token.minted",
    "token.missed",
    "token.not_shared",
    "token.outpaced",
    "token.refresh_refused",
    "token.refreshed",
    "token.refused",
    "token.shared",
    "token.shared_renewal_failed",
    "token.survived",
    "token.taken",
]


class Event:
    """Something that happened to a token or a request.

    :param name: What happened.
    :param message: The line for the log.
    :param level: Level of that line.
    :param fields: Values for metrics and traces.
    """

    __slots__ = ("fields", "level", "message", "name")

    def __init__(self, name: EventName, message: str, level: int = logging.DEBUG, **fields: Any) -> None:
        self.name = name
        self.message = message
        self.level = level
        self.fields = fields

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"Event({self.name!r}, {self.message!r})"


#: Receives each event as it happens. Must not raise or block: a task may be waiting for a token.
Observer: TypeAlias = Callable[[Event], None]


def log_event(event: Event) -> None:
    """Write an event to the log. The drivers' default observer."""
    log.log(event.level, "%s", event)


def call_event(
    method: str,
    url: str,
    elapsed: float,
    *,
    status: int | None = None,
    date: float | None = None,
    failure: str | None = None,
) -> Event:
    """Return the event for a request that was answered or failed.

    :param method: HTTP method.
    :param url: URL without its query and without a path key.
    :param elapsed: Seconds from sending the request to the end of the response.
    :param status: HTTP status; None if there was no response.
    :param date: The service's ``Date`` header in epoch seconds.
    :param failure: Class name of the error if there was no response.
    """
    outcome = failure if status is None else status
    return Event(
        "call",
        f"{method} {url}: {outcome} after {elapsed:.3f} s",
        method=method,
        url=url,
        elapsed=elapsed,
        status=status,
        date=date,
        failure=failure,
    )


def held_back(seconds: float, *, by_service: bool) -> Event:
    """Return the event for a request that has to wait.

    :param seconds: How long.
    :param by_service: Whether the service asked for it; otherwise the connection's ``requests_per_second`` did.
    """
    why = "as the service asks" if by_service else "to keep to requests_per_second"
    return Event("held_back", f"Held back for {seconds:.1f} s, {why}", seconds=seconds, by_service=by_service)


def duration(seconds: float) -> str:
    """Format seconds for people: in minutes from 120 s on."""
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
