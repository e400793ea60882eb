"""Compares the clock of this machine with those of the services, by the ``Date`` of their answers."""

from __future__ import annotations

import time
from collections.abc import Callable

from airflow_provider_bloq.auth.events import Called, Event, told
from airflow_provider_bloq.clients.retry import http_date
from airflow_provider_bloq.hooks.check_findings import Found, Outcome

__all__ = ["Clocks"]

#: How far apart two clocks may be, in seconds. What checks times, such as a login by JWT, bears about as much.
TOLERANCE = 60.0


class Clocks:
    """By how much this machine's clock is ahead of those of the services that have answered so far.

    :param name_of: Names the service of a URL.
    :param now: The wall clock, in epoch seconds.
    """

    def __init__(self, name_of: Callable[[str], str], now: Callable[[], float] = time.time) -> None:
        self._name_of = name_of
        self._now = now
        self._ahead: dict[str, float] = {}

    def observe(self, event: Event) -> None:
        """Take note of the time that an answer tells; an observer."""
        if isinstance(event, Called) and event.date is not None:
            # A Date has no fractions, and the answer took its time: good for a few seconds.
            self._ahead[self._name_of(event.url).capitalize()] = self._now() - event.date

    def note(self, service: str, date: str | None) -> None:
        """Take note of the time that a service has told.

        :param service: Its name.
        :param date: Its ``Date`` header; None where it sent none.
        """
        served = http_date(date or "")
        if served is not None:
            self._ahead[service] = self._now() - served

    def knows(self, service: str) -> bool:
        """Whether a service has told its time."""
        return service in self._ahead

    def compared(self) -> Found:
        """Tell whether this machine's clock is right."""
        if not self._ahead:
            return Found("No service has told the time.", Outcome.SKIPPED)
        wrong = {name: ahead for name, ahead in self._ahead.items() if abs(ahead) > TOLERANCE}
        if not wrong:
            return Found(f"right, by the clock of {' and '.join(self._ahead)}.")
        differences = " and ".join(
            f"{told(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} that of {name}"
            for name, ahead in wrong.items()
        )
        return Found(
            f"The clock of this machine is {differences}.",
            Outcome.FAILED,
            "Set it, and have it kept right (NTP; in a container that is the host's clock). Access tokens do not "
            "suffer, but logins by JWT, certificates, schedules and logs do.",
        )
