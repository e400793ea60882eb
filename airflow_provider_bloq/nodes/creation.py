"""What is known of a create: that it was sent, or what it made. And what may have come of one whose answer is lost.

There is no idempotency key at Bloq: this knowledge is all that keeps a second try from a second node.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

from airflow_provider_bloq.exceptions import (
    BloqAmbiguousCreate,
    BloqApiError,
    BloqConfigurationError,
    BloqError,
    BloqNotFound,
)
from airflow_provider_bloq.flow.effects import Flow, sleep
from airflow_provider_bloq.flow.lost_creates import may_have_created, may_have_made
from airflow_provider_bloq.nodes.models import STOPPED, Deployment

if TYPE_CHECKING:
    from airflow_provider_bloq.nodes.client import DeploymentsApi

__all__ = [
    "CompletedCreate",
    "CreateJournal",
    "CreateRecord",
    "Creation",
    "NoCreateJournal",
    "Order",
    "PendingCreate",
    "candidates",
    "create_record_from_json",
    "create_record_to_json",
]


M = TypeVar("M", bound=Deployment)

#: What is to be created: the body of the request.
Order: TypeAlias = Mapping[str, Any]

#: How far the service's clocks may be apart, one that stamps its answers and one that stamps what it
#: creates; in seconds.
SERVICE_SKEW = 30.0
#: How wrong a worker's clock may be, which is asked only where the service does not tell the time; in seconds.
WORKER_SKEW = 300.0
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCreate:
    """A create was sent, or was just about to be. What came of it is not known.

    :param order: What was to be created.
    :param before: Ids of all that were there before and not stopped.
    :param sent_at: When it was sent, in epoch seconds.
    :param settle_seconds: Seconds after which the service has acted on it if it ever does; None where there
        is no telling.
    :param by_service_clock: Whether the time is the service's, not the worker's.
    :param generation: The generation of the task that sent it: a number that is greater after the task was cleared.
    :param reported: Whether a person was told that the outcome is unknown.
    """

    order: Order
    before: frozenset[str]
    sent_at: float
    settle_seconds: float | None = None
    by_service_clock: bool = True
    generation: int = 0
    reported: bool = False

    @property
    def skew(self) -> float:
        """How far the clocks may be apart, in seconds."""
        return SERVICE_SKEW if self.by_service_clock else WORKER_SKEW

    def may_have_made(self, machine: Deployment) -> bool:
        """Tell whether something on the list can have come of it."""
        return (
            machine.state != STOPPED
            and machine.service in (None, self.order["serviceId"])
            and (machine.auth is None or machine.auth.type == self.order["authType"])
            and may_have_made(
                machine,
                known=self.before,
                sent_at=self.sent_at,
                settle_seconds=self.settle_seconds,
                skew=self.skew,
            )
        )

    def seconds_to_settle(self, now: float) -> float:
        """Return the seconds until the service has acted on it if it ever does.

        :param now: Epoch seconds, by the same clock as ``sent_at`` if possible.
        """
        if self.settle_seconds is None:
            return 0.0
        return min(max(0.0, self.sent_at + self.settle_seconds - now), self.settle_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedCreate:
    """A create made this.

    :param order: What was to be created.
    :param id: What was made.
    :param generation: As for :class:`PendingCreate`.
    :param done: Whether the task returned it as its result.
    """

    order: Order
    id: str
    generation: int = 0
    done: bool = False


CreateRecord: TypeAlias = PendingCreate | CompletedCreate


def candidates(sent: PendingCreate, machines: Iterable[M], owned: frozenset[str]) -> list[M]:
    """Return what may have come of a create whose answer is lost.

    :param sent: The create.
    :param machines: All that are there now.
    :param owned: Ids of those that are known to be others'.
    """
    return [machine for machine in machines if machine.id not in owned and sent.may_have_made(machine)]


def create_record_to_json(attempt: CreateRecord) -> dict[str, Any]:
    """Write an attempt as JSON; there is nothing secret in it."""
    fields = asdict(attempt)
    if isinstance(attempt, PendingCreate):
        fields["before"] = sorted(attempt.before)
    return {"format": _FORMAT, "stage": "sent" if isinstance(attempt, PendingCreate) else "made", **fields}


def create_record_from_json(fields: Any) -> CreateRecord:
    """Read an attempt that :func:`create_record_to_json` wrote.

    :raises BloqConfigurationError: This version of the provider did not write it, and cannot tell what
        has been created.
    """
    values = dict(fields) if isinstance(fields, Mapping) else {}
    known, stage = values.pop("format", None) == _FORMAT, values.pop("stage", None)
    try:
        if known and stage == "made":
            return CompletedCreate(**values)
        if known and stage == "sent":
            return PendingCreate(**{**values, "before": frozenset(values["before"])})
    except (TypeError, KeyError):
        raise _unreadable() from None
    raise _unreadable()


def _unreadable() -> BloqConfigurationError:
    return BloqConfigurationError.of(
        "task state",
        "what it says of the create was not written by this version of the provider",
        "Look what the task has created, delete the entry, and clear the task.",
    )


log = logging.getLogger(__name__)


class CreateJournal(Protocol):
    """Where a task notes what it has created, to be read by its next try. Every method makes a flow."""

    def read(self) -> Flow[CreateRecord | None]:
        """Return what was noted last."""

    def write(self, attempt: CreateRecord) -> Flow[None]:
        """Note this instead."""

    def withdraw(self) -> Flow[None]:
        """Note that nothing was created."""

    def claim(self, id: str) -> Flow[None]:  # noqa: A002 - the field's own name
        """Let the other tasks know that this one is taken."""

    def claimed(self) -> Flow[frozenset[str]]:
        """Return what other tasks have let know to be theirs."""


class NoCreateJournal:
    """For who makes one try only."""

    def read(self) -> Flow[CreateRecord | None]:
        """See :meth:`Journal.read`."""
        yield from ()
        return None

    def write(self, attempt: CreateRecord) -> Flow[None]:
        """See :meth:`Journal.write`."""
        yield from ()

    def withdraw(self) -> Flow[None]:
        """See :meth:`Journal.withdraw`."""
        yield from ()

    def claim(self, id: str) -> Flow[None]:  # noqa: A002
        """See :meth:`Journal.claim`."""
        yield from ()

    def claimed(self) -> Flow[frozenset[str]]:
        """See :meth:`Journal.claimed`."""
        yield from ()
        return frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation(Generic[M]):
    """One create, over all tries of its task.

    :param api: Creates, lists and reads.
    :param order: What to create, as ``order()`` of the API made it.
    :param journal: Remembers from try to try.
    :param exclusive_creates: Whether the caller sees to it that, from the first try to the last, nobody but tasks
        whose claims are seen here creates the same. Only then can a lone new one be told to be its own.
    :param generation: The generation of the task: greater after it was cleared than before.
    :param settle_seconds: Seconds after which the service has acted on a request if it ever does.
    :param clock: The worker's time, in epoch seconds.
    """

    api: DeploymentsApi[M]
    order: Order
    journal: CreateJournal = field(default_factory=NoCreateJournal)
    exclusive_creates: bool = False
    generation: int = 0
    settle_seconds: float | None = None
    clock: Callable[[], float] = time.time

    def run(self) -> Flow[M]:
        """Take up what an earlier try has created, or create.

        :raises BloqAmbiguousCreate: It cannot be told what came of a create.
        :raises BloqConfigurationError: An earlier try has created something else, which is still there.
        """
        attempt = yield from self.journal.read()
        machine: M | None = None
        if isinstance(attempt, CompletedCreate):
            machine = yield from self._taken_up(attempt)
        elif attempt is not None:
            machine = yield from self._found_after(attempt)
        return machine if machine is not None else (yield from self._created())

    def finish(self, id: str) -> Flow[None]:  # noqa: A002 - the field's own name
        """Note that the task returns this as its result: only a clear makes it create another one."""
        yield from self.journal.write(
            CompletedCreate(order=self.order, id=id, generation=self.generation, done=True)
        )

    def _taken_up(self, made: CompletedCreate) -> Flow[M | None]:
        if made.done and self.generation > made.generation:
            log.info("The task was cleared after it had created %s, which is left alone.", made.id)
            return None
        machine = yield from self._alive(made.id)
        if machine is None:
            log.info("%s, which an earlier try created, is gone; another one is created.", made.id)
            return None
        self._require_same_order(made.order, made.id)
        log.info("An earlier try created %s, which is taken up (%s).", made.id, machine.state)
        yield from self.journal.claim(made.id)
        return machine

    def _alive(self, id: str) -> Flow[M | None]:  # noqa: A002 - the field's own name
        listing = yield from self.api.listing()
        for machine in listing.machines:
            if machine.id == id:
                return machine if machine.state != STOPPED else None
        # What is deleted stays in the list, so both have to deny it: a 404 can come from something in between.
        try:
            return (yield from self.api.one(id))
        except BloqNotFound:
            return None

    def _found_after(self, sent: PendingCreate) -> Flow[M | None]:
        if sent.reported and self.generation > sent.generation:
            log.info("The task was cleared by somebody who knew of the lost create; it creates anew.")
            return None
        found, now = yield from self._search(sent)
        if found is None and (pause := sent.seconds_to_settle(now)):
            log.info("An earlier try may have a create under way; looking again in %.0f s.", pause)
            yield from sleep(pause)
            found, _ = yield from self._search(sent)
        if found is not None:
            log.info("An earlier try created %s without learning of it; it is taken up.", found.id)
        return found

    def _created(self) -> Flow[M]:
        listing = yield from self.api.listing()
        offset = 0.0 if listing.served_at is None else listing.served_at - self.clock()
        sent = PendingCreate(
            order=self.order,
            before=frozenset(machine.id for machine in listing.machines if machine.state != STOPPED),
            sent_at=self.clock() + offset,
            settle_seconds=self.settle_seconds,
            by_service_clock=listing.served_at is not None,
            generation=self.generation,
        )

        def note() -> Flow[None]:
            nonlocal sent
            sent = replace(sent, sent_at=self.clock() + offset)
            yield from self.journal.write(sent)

        try:
            machine = yield from self.api.post(self.order, before_each=note)
        except BloqError as error:
            if not (isinstance(error, BloqApiError) and may_have_created(error, self.api.create_url)):
                yield from self.journal.withdraw()
                raise
            return (yield from self._found_at_once(sent, error))
        return (yield from self._keep(machine))

    def _found_at_once(self, sent: PendingCreate, lost: BloqApiError) -> Flow[M]:
        try:
            found, _ = yield from self._search(sent, lost)
        except BloqAmbiguousCreate:
            raise
        except BloqError as second:
            # Raised as it is, it would have the task retried, which may not know of this create.
            yield from self._report(sent)
            raise _unknown(lost, f"Listing to check for it also failed ({second}).") from lost
        if found is None:
            yield from self._report(sent)
            raise _unknown(lost, "None that fits has appeared since, but it may still.") from lost
        return found

    def _search(self, sent: PendingCreate, lost: BloqApiError | None = None) -> Flow[tuple[M | None, float]]:
        """Look what has come of a create; None where nothing that fits is there. Gives the time as well.

        :raises BloqAmbiguousCreate: Something is there, and it cannot be told whether it is.
        """
        listing = yield from self.api.listing()
        now = self.clock()
        if sent.by_service_clock and listing.served_at is not None:
            now = listing.served_at
        fitting = candidates(sent, listing.machines, frozenset())
        if fitting:
            fitting = candidates(sent, fitting, (yield from self.journal.claimed()))
        if not fitting:
            return None, now
        if not self.exclusive_creates or len(fitting) > 1:
            yield from self._report(sent)
            ids = [machine.id for machine in fitting]
            told = f"New since then and fitting: {', '.join(ids)}; nothing was deleted."
            raise _unknown(lost, told, ids) from lost
        self._require_same_order(sent.order, fitting[0].id)
        return (yield from self._keep(fitting[0])), now

    def _keep(self, machine: M) -> Flow[M]:
        # Claimed first: were the worker lost in between, the next try would look for it among the unclaimed,
        # whereas one that is noted and not claimed could be taken by another task.
        yield from self.journal.claim(machine.id)
        yield from self.journal.write(
            CompletedCreate(order=self.order, id=machine.id, generation=self.generation)
        )
        return machine

    def _report(self, sent: PendingCreate) -> Flow[None]:
        yield from self.journal.write(replace(sent, generation=self.generation, reported=True))

    def _require_same_order(self, order: Order, id: str) -> None:  # noqa: A002 - the field's own name
        changed = [name for name in {**order, **self.order} if order.get(name) != self.order.get(name)]
        if changed:
            raise BloqConfigurationError.of(
                " and ".join(changed),
                f"this task has created {id} with other values, and it is still there",
                f"Delete {id}, then clear the task; or give the values back that it was created with.",
            )


def _unknown(
    lost: BloqApiError | None, found: str, candidates: list[str] | None = None
) -> BloqAmbiguousCreate:
    how = f"The answer to the create was lost ({lost})"
    if lost is None:
        how = "The worker was lost while it created"
    return BloqAmbiguousCreate(
        f"{how}, and the API has no idempotency key. {found} Look which is yours and delete the others before "
        "you create again (clear the task). Creates that run one at a time can be told apart: exclusive_creates=True.",
        candidates=candidates or (),
        status=lost.status if lost else None,
        method=lost.method if lost else None,
        url=lost.url if lost else None,
    )
