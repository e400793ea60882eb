"""The clock that the whole service goes by, and how it writes times."""

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
    """A base clock plus a shift; token lifetimes, the Date header and provisioning follow it.

    :param base: Gives seconds since the epoch.
    """

    def __init__(self, base: Callable[[], float]) -> None:
        self._base = base
        self._shift = 0.0

    def now(self) -> float:
        """Return the service's time in seconds since the epoch."""
        return self._base() + self._shift

    def advance(self, seconds: float) -> float:
        """Move the clock forward (or back, if negative) and return the new time.

        :param seconds: How far, in seconds.
        """
        self._shift += seconds
        return self.now()


def iso(moment: float) -> str:
    """Write a time as Bloq does: ISO 8601 in UTC with milliseconds and a ``Z``."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def http_date(moment: float) -> str:
    """Write a time as HTTP headers want it."""
    return formatdate(moment, usegmt=True)
