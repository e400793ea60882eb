"""Create a node or cluster once, although a task may be tried more than once.

Bloq has no idempotency keys. A journal keeps what earlier tries sent and received; the lists before and after a create
tell what one without an answer has made.
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


log = logging.getLogger(__name__)

M = TypeVar("M", bound=Deployment)

#: The body of a create request.
Order: TypeAlias = Mapping[str, Any]

#: Largest difference in seconds between the service's clocks: one stamps its answers, another what it creates.
SERVICE_SKEW = 30.0
#: Largest error of a worker's clock in seconds. It is used only if the service does not send the time.
WORKER_SKEW = 300.0
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCreate:
    """A create was sent or is about to be. Its outcome is unknown.

    :param order: Body of the request.
    :param before: Ids of everything that existed before and was not stopped.
    :param sent_at: When it was sent, in epoch seconds.
    :param settle_seconds: Seconds after which the service has acted on it if it ever does; None if unknown.
    :param by_service_clock: Whether ``sent_at`` is by the service's clock, not by the worker's.
    :param generation: Generation of the task that sent it; it grows when the task is cleared.
    :param reported: Whether the task has failed with an error saying that the outcome is unknown.
    """

    order: Order
    before: frozenset[str]
    sent_at: float
    settle_seconds: float | None = None
    by_service_clock: bool = True
    generation: int = 0
    reported: bool = False

    def may_have_made(self, deployment: Deployment) -> bool:
        """Return whether a deployment may be the result of this create."""
        return (
            deployment.state != STOPPED
            and deployment.service in (None, self.order["serviceId"])
            and (deployment.auth is None or deployment.auth.type == self.order["authType"])
            and may_have_made(
                deployment,
                known=self.before,
                sent_at=self.sent_at,
                settle_seconds=self.settle_seconds,
                skew=SERVICE_SKEW if self.by_service_clock else WORKER_SKEW,
            )
        )

    def seconds_to_settle(self, now: float) -> float:
        """Return the seconds until the service has acted on this create if it ever does.

        :param now: Epoch seconds, if possible by the same clock as ``sent_at``.
        """
        if self.settle_seconds is None:
            return 0.0
        return min(max(0.0, self.sent_at + self.settle_seconds - now), self.settle_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedCreate:
    """A create whose result is known.

    :param order: Body of the request.
    :param id: Id of the node or cluster.
    :param generation: Generation of the task; it grows when the task is cleared.
    :param done: Whether the task has returned it as its result.
    """

    order: Order
    id: str
    generation: int = 0
    done: bool = False


#: What the journal holds.
CreateRecord: TypeAlias = PendingCreate | CompletedCreate


def candidates(pending: PendingCreate, deployments: Iterable[M], claimed: frozenset[str]) -> list[M]:
    """Return the deployments that may be the result of a create.

    :param pending: The create.
    :param deployments: All deployments that exist now.
    :param claimed: Ids of deployments that belong to other tasks.
    """
    return [one for one in deployments if one.id not in claimed and pending.may_have_made(one)]


def create_record_to_json(record: CreateRecord) -> dict[str, Any]:
    """Return a record as JSON. It holds no secrets."""
    fields = asdict(record)
    if isinstance(record, PendingCreate):
        fields["before"] = sorted(record.before)
    return {"format": _FORMAT, "stage": "sent" if isinstance(record, PendingCreate) else "made", **fields}


def create_record_from_json(fields: Any) -> CreateRecord:
    """Read the JSON of :func:`create_record_to_json`.

    :raises BloqConfigurationError: Another version of the provider wrote it.
    """
    values = dict(fields) if isinstance(fields, Mapping) else {}
    known, stage = values.pop("format", None) == _FORMAT, values.pop("stage", None)
    try:
        if known and stage == "made":
            return CompletedCreate(**values)
        if known and stage == "sent":
            return PendingCreate(**{**values, "before": frozenset(values["before"])})
    except (TypeError, KeyError):
        pass
    raise BloqConfigurationError.of(
        "task state",
        "its record of the create was not written by this version of the provider",
        "Check what the task has created, delete the entry, and clear the task.",
    )


class CreateJournal(Protocol):
    """Keeps the record of a task's create for its next try. Each method returns a flow."""

    def read(self) -> Flow[CreateRecord | None]:
        """Return the record; None if there is none."""

    def write(self, record: CreateRecord) -> Flow[None]:
        """Replace the record."""

    def withdraw(self) -> Flow[None]:
        """Delete the record, because nothing was created."""

    def claim(self, id: str) -> Flow[None]:  # noqa: A002 - the field's own name
        """Show other tasks that this deployment belongs to this task."""

    def claimed(self) -> Flow[frozenset[str]]:
        """Return the ids of the deployments that other tasks have claimed."""


class NoCreateJournal:
    """A :class:`CreateJournal` that keeps nothing, for callers that try once."""

    def read(self) -> Flow[CreateRecord | None]:
        yield from ()
        return None

    def write(self, record: CreateRecord) -> Flow[None]:
        yield from ()

    def withdraw(self) -> Flow[None]:
        yield from ()

    def claim(self, id: str) -> Flow[None]:  # noqa: A002
        yield from ()

    def claimed(self) -> Flow[frozenset[str]]:
        yield from ()
        return frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation(Generic[M]):
    """One create, over all tries of its task.

    :param api: Client for nodes or for clusters.
    :param order: Body of the request, from the client's ``order()``.
    :param journal: Keeps the record from try to try.
    :param exclusive_creates: Whether nothing else creates the same from the first try to the last, except tasks whose
        claims the journal sees. Only then is a single candidate known to be the task's own.
    :param generation: Generation of the task; it grows when the task is cleared.
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
        """Return what an earlier try created, or create it now.

        :raises BloqAmbiguousCreate: The outcome of a create is unknown.
        :raises BloqConfigurationError: An earlier try created something else, which still exists.
        """
        record = yield from self.journal.read()
        deployment: M | None = None
        if isinstance(record, CompletedCreate):
            deployment = yield from self._resume(record)
        elif record is not None:
            deployment = yield from self._recover(record)
        return deployment if deployment is not None else (yield from self._create())

    def finish(self, id: str) -> Flow[None]:  # noqa: A002 - the field's own name
        """Record that the task returns this deployment. From then on only a clear makes it create another one."""
        yield from self._record(id, done=True)

    def _resume(self, completed: CompletedCreate) -> Flow[M | None]:
        if completed.done and self.generation > completed.generation:
            log.info("The task was cleared after it created %s, which is left alone.", completed.id)
            return None
        deployment = yield from self._existing(completed.id)
        if deployment is None:
            log.info("%s, created by an earlier try, is gone; creating another one.", completed.id)
            return None
        self._require_same_order(completed.order, completed.id)
        log.info("Using %s, created by an earlier try (%s).", completed.id, deployment.state)
        yield from self.journal.claim(completed.id)
        return deployment

    def _existing(self, id: str) -> Flow[M | None]:  # noqa: A002 - the field's own name
        for deployment in (yield from self.api.listing()).deployments:
            if deployment.id == id:
                return deployment if deployment.state != STOPPED else None
        # Deleted deployments stay on the list. A 404 alone proves nothing: a proxy may have sent it.
        try:
            return (yield from self.api.one(id))
        except BloqNotFound:
            return None

    def _recover(self, pending: PendingCreate) -> Flow[M | None]:
        if pending.reported and self.generation > pending.generation:
            log.info("The task was cleared after it reported the lost create; creating again.")
            return None
        found, now = yield from self._search(pending)
        if found is None and (pause := pending.seconds_to_settle(now)):
            log.info("A create of an earlier try may still be under way; looking again in %.0f s.", pause)
            yield from sleep(pause)
            found, _ = yield from self._search(pending)
        if found is not None:
            log.info("Using %s, created by an earlier try that received no answer.", found.id)
        return found

    def _create(self) -> Flow[M]:
        listing = yield from self.api.listing()
        offset = 0.0 if listing.served_at is None else listing.served_at - self.clock()
        pending = PendingCreate(
            order=self.order,
            before=frozenset(one.id for one in listing.deployments if one.state != STOPPED),
            sent_at=self.clock() + offset,
            settle_seconds=self.settle_seconds,
            by_service_clock=listing.served_at is not None,
            generation=self.generation,
        )

        def record_pending() -> Flow[None]:
            nonlocal pending
            pending = replace(pending, sent_at=self.clock() + offset)
            yield from self.journal.write(pending)

        try:
            deployment = yield from self.api.post(self.order, before_each=record_pending)
        except BloqError as error:
            if not (isinstance(error, BloqApiError) and may_have_created(error, self.api.create_url)):
                yield from self.journal.withdraw()
                raise
            return (yield from self._search_now(pending, error))
        return (yield from self._keep(deployment))

    def _search_now(self, pending: PendingCreate, lost: BloqApiError) -> Flow[M]:
        try:
            found, _ = yield from self._search(pending, lost)
        except BloqAmbiguousCreate:
            raise
        except BloqError as second:
            # Raised as it is, it would have the task retried, and a retry may not know of this create.
            yield from self._report(pending)
            raise _ambiguous(lost, f"Listing to check for it also failed ({second}).") from lost
        if found is None:
            yield from self._report(pending)
            raise _ambiguous(lost, "Nothing that matches has appeared since, but it may still.") from lost
        return found

    def _search(
        self, pending: PendingCreate, lost: BloqApiError | None = None
    ) -> Flow[tuple[M | None, float]]:
        """Look for the result of a create. Return it, or None, and the time of the search.

        :raises BloqAmbiguousCreate: There are candidates, and it is unknown whether one of them is the result.
        """
        listing = yield from self.api.listing()
        now = self.clock()
        if pending.by_service_clock and listing.served_at is not None:
            now = listing.served_at
        matching = candidates(pending, listing.deployments, frozenset())
        if matching:
            matching = candidates(pending, matching, (yield from self.journal.claimed()))
        if not matching:
            return None, now
        if not self.exclusive_creates or len(matching) > 1:
            yield from self._report(pending)
            ids = [one.id for one in matching]
            raise _ambiguous(
                lost, f"New since then and matching: {', '.join(ids)}; nothing was deleted.", ids
            ) from lost
        self._require_same_order(pending.order, matching[0].id)
        return (yield from self._keep(matching[0])), now

    def _keep(self, deployment: M) -> Flow[M]:
        # Claim first. If the worker is lost in between, the next try searches among the unclaimed; the other way
        # round another task could take it.
        yield from self.journal.claim(deployment.id)
        yield from self._record(deployment.id)
        return deployment

    def _record(self, id: str, *, done: bool = False) -> Flow[None]:  # noqa: A002 - the field's own name
        completed = CompletedCreate(order=self.order, id=id, generation=self.generation, done=done)
        yield from self.journal.write(completed)

    def _report(self, pending: PendingCreate) -> Flow[None]:
        yield from self.journal.write(replace(pending, generation=self.generation, reported=True))

    def _require_same_order(self, order: Order, id: str) -> None:  # noqa: A002 - the field's own name
        changed = [name for name in {**order, **self.order} if order.get(name) != self.order.get(name)]
        if changed:
            raise BloqConfigurationError.of(
                " and ".join(changed),
                f"this task created {id} with other values, and it still exists",
                f"Delete {id} and clear the task, or restore the values that it was created with.",
            )


def _ambiguous(
    lost: BloqApiError | None, found: str, candidates: list[str] | None = None
) -> BloqAmbiguousCreate:
    cause = f"The answer to the create was lost ({lost})" if lost else "The worker was lost during the create"
    return BloqAmbiguousCreate(
        f"{cause}, and the API has no idempotency keys. {found} Check which is yours and delete the others before you "
        "create again (clear the task). With exclusive_creates=True, creates that run one at a time are told apart.",
        candidates=candidates or (),
        status=lost.status if lost else None,
        method=lost.method if lost else None,
        url=lost.url if lost else None,
    )
