"""The clock of the service, and its formats of times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate

__all__ = [
    "ServiceClock",
    "http_date",
    "iso",
]


class ServiceClock:
    """A clock that can be moved; token lifetimes, the Date header and provisioning follow it.

    :param base: Returns seconds since the epoch.
    """

    def __init__(self, base: Callable[[], float]) -> None:
        self._base = base
        self._shift = 0.0

    def now(self) -> float:
        """Return the service's time in seconds since the epoch."""
        return self._base() + self._shift

    def advance(self, seconds: float) -> float:
        """Move the clock forward, or back if negative, and return the new time."""
        self._shift += seconds
        return self.now()


def iso(moment: float) -> str:
    """Format a time as Bloq does: ISO 8601 in UTC with milliseconds and a ``Z``."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def http_date(moment: float) -> str:
    """Format a time for an HTTP header."""
    return formatdate(moment, usegmt=True)
