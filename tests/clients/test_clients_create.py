"""Create has no idempotency key: never twice, and never taking what another has made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_bloq.auth.credentials import ClientKeys
from airflow_provider_bloq.exceptions import (
    BloqAmbiguousCreate,
    BloqNotFound,
    BloqQuotaExceeded,
    BloqUnavailable,
)
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from tests.clients.both_ways import BothWays, OpenClients

#: What is created: the fixture's parameter, and the name of its routes.
KINDS = ("nodes", "clusters")


@pytest.fixture(params=KINDS)
def things(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def create(service: LocalBloq, bloq: BothWays, things: str) -> Callable[..., Any]:
    """Create a node or a cluster with the account's clients, or with those given."""

    def created(by: BothWays = bloq, auth_type: str = "jwt", **options: Any) -> Any:
        service_id = (
            service.service_id("btc") if things == "nodes" else service.service_id("eth", kind="cluster")
        )
        return getattr(by, things).create(service_id, auth_type, **options)

    return created


def listed(bloq: BothWays, things: str) -> dict[str, str]:
    """Return the states of all by their ids."""
    return {machine.id: machine.state for machine in getattr(bloq, things).list()}


def creates(service: LocalBloq, things: str) -> int:
    """Count the creates that arrived."""
    return service.counters().calls.get(f"nodes POST /users/me/{things}", 0)


def faulty_create(kind: FaultKind, **more: Any) -> Fault:
    return Fault(kind=kind, service="nodes", method="POST", **more)


def test_what_is_created_is_read(
    service: LocalBloq, bloq: BothWays, create: Callable[..., Any], things: str
) -> None:
    made = create()
    assert (made.state, made.auth.type) == ("started", "jwt")
    assert getattr(bloq, things).get(made.id) == made
    assert listed(bloq, things) == {made.id: "started"}
    assert creates(service, things) == 1


@pytest.mark.parametrize("kind_of_fault", [FaultKind.LOST_RESPONSE, FaultKind.TRUNCATED_JSON])
def test_a_lost_answer_leaves_exactly_one_and_names_it(
    service: LocalBloq, bloq: BothWays, create: Callable[..., Any], things: str, kind_of_fault: FaultKind
) -> None:
    before = create().id
    service.add_fault(faulty_create(kind_of_fault))
    with pytest.raises(BloqAmbiguousCreate) as lost:
        create()
    after = listed(bloq, things)
    assert list(lost.value.candidates) == [id_ for id_ in after if id_ != before]
    assert len(lost.value.candidates) == 1
    assert set(after.values()) == {"started"}, "nothing was deleted"
    assert creates(service, things) == 2, "the create that was lost was not sent again"
    assert lost.value.candidates[0] in str(lost.value)
    assert lost.value.retryable is False


@pytest.mark.parametrize(
    "fault",
    [
        faulty_create(FaultKind.RESET),
        faulty_create(FaultKind.STATUS, status=500),
        faulty_create(FaultKind.STATUS, status=502),
        faulty_create(FaultKind.STATUS, status=503),
        faulty_create(FaultKind.HTML, status=504),
        faulty_create(FaultKind.HTML, status=200),
        faulty_create(FaultKind.STATUS, status=202),
        faulty_create(FaultKind.STATUS, status=302),
        faulty_create(FaultKind.STATUS, status=408),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_an_unknown_outcome_is_never_answered_with_a_second_create(
    service: LocalBloq, bloq: BothWays, create: Callable[..., Any], things: str, fault: Fault
) -> None:
    service.add_fault(fault)
    with pytest.raises(BloqAmbiguousCreate, match="it may still") as lost:
        create(exclusive_creates=True)
    assert lost.value.candidates == ()
    assert creates(service, things) == 1
    assert listed(bloq, things) == {}


def test_one_at_a_time_a_lone_new_one_is_taken_for_the_lost_one(
    service: LocalBloq, bloq: BothWays, create: Callable[..., Any], things: str
) -> None:
    service.add_fault(faulty_create(FaultKind.LOST_RESPONSE))
    adopted = create(exclusive_creates=True)
    assert listed(bloq, things) == {adopted.id: "started"}
    assert creates(service, things) == 1


def test_one_that_another_made_meanwhile_is_not_taken(
    service: LocalBloq,
    account: ClientKeys,
    bloq: BothWays,
    open_clients: OpenClients,
    create: Callable[..., Any],
    things: str,
) -> None:
    colleague = open_clients(service, keys=account)
    # Between the create that is lost and the look at what came of it.
    bloq.in_pauses = lambda: create(by=colleague)
    service.add_fault(faulty_create(FaultKind.LOST_RESPONSE))
    service.add_fault(Fault(kind=FaultKind.STATUS, service="nodes", method="GET", after=1))
    with pytest.raises(BloqAmbiguousCreate) as lost:
        create(exclusive_creates=True)
    assert set(lost.value.candidates) == set(listed(bloq, things))
    assert len(lost.value.candidates) == 2
    assert creates(service, things) == 2


def test_what_does_not_fit_is_no_candidate(
    service: LocalBloq,
    account: ClientKeys,
    bloq: BothWays,
    open_clients: OpenClients,
    create: Callable[..., Any],
) -> None:
    colleague = open_clients(service, keys=account)
    others: list[str] = []
    bloq.in_pauses = lambda: others.append(create(by=colleague, auth_type="basic").id)
    service.add_fault(faulty_create(FaultKind.LOST_RESPONSE))
    service.add_fault(Fault(kind=FaultKind.STATUS, service="nodes", method="GET", after=1))
    adopted = create(exclusive_creates=True)
    assert adopted.auth.type == "jwt"
    assert len(others) == 1
    assert adopted.id not in others


def test_when_even_the_list_fails_the_create_still_counts_as_ambiguous(
    service: LocalBloq, create: Callable[..., Any], things: str
) -> None:
    # Any other error would have the task retried, and a retry creates again.
    service.add_fault(faulty_create(FaultKind.LOST_RESPONSE))
    service.add_fault(Fault(kind=FaultKind.STATUS, service="nodes", method="GET", status=500, after=1))
    with pytest.raises(BloqAmbiguousCreate, match="answered 500"):
        create(exclusive_creates=True)
    assert creates(service, things) == 1


def test_a_token_that_cannot_be_had_is_no_lost_create(
    service: LocalBloq, bloq: BothWays, create: Callable[..., Any], things: str
) -> None:
    service.add_fault(faulty_create(FaultKind.UNAUTHORIZED))
    service.add_fault(Fault(kind=FaultKind.STATUS, service="accounts", status=503, after=1, times=None))
    with pytest.raises(BloqUnavailable, match="auth/token answered 503") as failure:
        create()
    assert not isinstance(failure.value, BloqAmbiguousCreate)
    service.clear_faults()
    assert listed(bloq, things) == {}


def test_a_create_that_refused_the_token_is_sent_again_with_another(
    service: LocalBloq, bloq: BothWays, create: Callable[..., Any], things: str
) -> None:
    service.add_fault(faulty_create(FaultKind.UNAUTHORIZED))
    assert listed(bloq, things) == {}
    made = create()
    assert listed(bloq, things) == {made.id: "started"}
    counts = service.counters()
    assert (counts.mints, counts.refreshes) == (1, 1)


def test_a_full_quota_is_no_matter_of_the_token(
    service: LocalBloq, bloq: BothWays, create: Callable[..., Any], things: str
) -> None:
    service.add_fault(faulty_create(FaultKind.LIMIT_EXCEEDED))
    with pytest.raises(BloqQuotaExceeded, match="as its plan allows") as full:
        create()
    assert (full.value.status, full.value.code, full.value.retryable) == (403, "LimitExceeded", False)
    create()
    counts = service.counters()
    assert (counts.mints, counts.refreshes) == (1, 0)
    assert creates(service, things) == 2


def test_an_unknown_service_is_not_found(bloq: BothWays, things: str) -> None:
    with pytest.raises(BloqNotFound, match="ServiceNotFound"):
        getattr(bloq, things).create("service-0", "jwt")
