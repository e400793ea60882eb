"""What is known of a create: that it was sent, or what it made. And what may have come of one whose answer is lost.

There is no idempotency key at Bloq: this knowledge is all that keeps a second try from a second node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from airflow_provider_bloq.clients.models import STOPPED, Machine
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["Attempt", "Made", "Order", "Sent", "attempt_from_json", "attempt_to_json", "candidates"]

M = TypeVar("M", bound=Machine)

#: What is to be created: the body of the request.
Order: TypeAlias = Mapping[str, Any]

#: How far the service's clocks may be apart, one that stamps its answers and one that stamps what it
#: creates; in seconds.
SERVICE_SKEW = 30.0
#: How wrong a worker's clock may be, which is asked only where the service does not tell the time; in seconds.
WORKER_SKEW = 300.0
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A create was sent, or was just about to be. What came of it is not known.

    :param order: What was to be created.
    :param before: Ids of all that were there before and not stopped.
    :param sent_at: When it was sent, in epoch seconds.
    :param settles_in: Seconds after which the service has acted on it if it ever does; None where there
        is no telling.
    :param by_service_clock: Whether the time is the service's, not the worker's.
    :param life: The life of the task that sent it: a number that is greater after the task was cleared.
    :param reported: Whether a person was told that the outcome is unknown.
    """

    order: Order
    before: frozenset[str]
    sent_at: float
    settles_in: float | None = None
    by_service_clock: bool = True
    life: int = 0
    reported: bool = False

    @property
    def skew(self) -> float:
        """How far the clocks may be apart, in seconds."""
        return SERVICE_SKEW if self.by_service_clock else WORKER_SKEW

    def may_have_made(self, machine: Machine) -> bool:
        """Tell whether something on the list can have come of it."""
        return (
            machine.state != STOPPED
            and machine.id not in self.before
            and machine.service in (None, self.order["serviceId"])
            and (machine.auth is None or machine.auth.type == self.order["authType"])
            and self._covers(machine.created_at)
        )

    def _covers(self, created_at: str | None) -> bool:
        moment = _epoch_seconds(created_at)
        # To overlook the own one would create a second one, so what tells no time counts as well.
        if moment is None:
            return True
        too_late = self.settles_in is not None and moment > self.sent_at + self.settles_in + self.skew
        return moment >= self.sent_at - self.skew and not too_late

    def unsettled_for(self, now: float) -> float:
        """Return the seconds until the service has acted on it if it ever does.

        :param now: Epoch seconds, by the same clock as ``sent_at`` if possible.
        """
        if self.settles_in is None:
            return 0.0
        return min(max(0.0, self.sent_at + self.settles_in - now), self.settles_in)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A create made this.

    :param order: What was to be created.
    :param id: What was made.
    :param life: As for :class:`Sent`.
    :param done: Whether the task returned it as its result.
    """

    order: Order
    id: str
    life: int = 0
    done: bool = False


Attempt: TypeAlias = Sent | Made


def candidates(sent: Sent, machines: Iterable[M], owned: frozenset[str]) -> list[M]:
    """Return what may have come of a create whose answer is lost.

    :param sent: The create.
    :param machines: All that are there now.
    :param owned: Ids of those that are known to be others'.
    """
    return [machine for machine in machines if machine.id not in owned and sent.may_have_made(machine)]


def attempt_to_json(attempt: Attempt) -> dict[str, Any]:
    """Write an attempt as JSON; there is nothing secret in it."""
    fields = asdict(attempt)
    if isinstance(attempt, Sent):
        fields["before"] = sorted(attempt.before)
    return {"format": _FORMAT, "stage": "sent" if isinstance(attempt, Sent) else "made", **fields}


def attempt_from_json(fields: Any) -> Attempt:
    """Read an attempt that :func:`attempt_to_json` wrote.

    :raises BloqConfigurationError: This version of the provider did not write it, and cannot tell what
        has been created.
    """
    values = dict(fields) if isinstance(fields, Mapping) else {}
    known, stage = values.pop("format", None) == _FORMAT, values.pop("stage", None)
    try:
        if known and stage == "made":
            return Made(**values)
        if known and stage == "sent":
            return Sent(**{**values, "before": frozenset(values["before"])})
    except (TypeError, KeyError):
        raise _unreadable() from None
    raise _unreadable()


def _unreadable() -> BloqConfigurationError:
    return BloqConfigurationError.of(
        "task state",
        "what it says of the create was not written by this version of the provider",
        "Look what the task has created, delete the entry, and clear the task.",
    )


def _epoch_seconds(moment: str | None) -> float | None:
    try:
        parsed = datetime.fromisoformat(moment or "")
    except ValueError:
        return None
    # Bloq writes UTC with a Z. A time without any zone could be anybody's.
    return parsed.timestamp() if parsed.tzinfo else None
