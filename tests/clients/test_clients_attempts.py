"""What may have come of a create whose answer is lost: decided by service, auth type and time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.nodes.create_once import (
    SERVICE_SKEW,
    WORKER_SKEW,
    CompletedCreate,
    PendingCreate,
    candidates,
    create_record_from_json,
    create_record_to_json,
)
from airflow_provider_bloq.nodes.models import Node

pytestmark = pytest.mark.logic

NOW = 1_700_000_000.0
SENT = PendingCreate(
    order={"serviceId": "service-1", "authType": "jwt"},
    before=frozenset({"node-before"}),
    sent_at=NOW,
    settle_seconds=60.0,
)
NODE = {"id": "node-1", "state": "started", "service": "service-1", "auth": {"type": "jwt"}}


def node(created_at: float | str | None = NOW, **fields: Any) -> Node:
    moment = (
        datetime.fromtimestamp(created_at, UTC).isoformat() if isinstance(created_at, float) else created_at
    )
    return Node.from_json({**NODE, "createdAt": moment, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"state": "starting"},
        {"service": None},
        {"auth": None},
        {"auth": {"type": "JWT"}},
        {"created_at": None},
        {"created_at": "yesterday"},
        {"created_at": "2001-01-01T00:00:00"},
    ],
    ids=str,
)
def test_what_fits_as_far_as_it_tells_is_a_candidate(fields: dict[str, Any]) -> None:
    assert SENT.may_have_made(node(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "node-before"},
        {"state": "stopped"},
        {"service": "service-2"},
        {"auth": {"type": "basic"}},
        {"created_at": "2001-01-01T00:00:00Z"},
    ],
    ids=str,
)
def test_what_does_not_fit_is_none(fields: dict[str, Any]) -> None:
    assert not SENT.may_have_made(node(**fields))


@pytest.mark.parametrize(("by_service_clock", "skew"), [(True, SERVICE_SKEW), (False, WORKER_SKEW)])
@pytest.mark.parametrize(
    ("beyond", "may_be"), [(-1.0, True), (0.0, True), (1.0, False)], ids=["within", "at", "beyond"]
)
def test_it_was_created_between_the_request_and_the_end_of_all_patience(
    by_service_clock: bool, skew: float, beyond: float, may_be: bool
) -> None:
    sent = replace(SENT, by_service_clock=by_service_clock)
    assert sent.may_have_made(node(NOW - skew - beyond)) is may_be
    assert sent.may_have_made(node(NOW + 60.0 + skew + beyond)) is may_be


def test_without_an_end_of_patience_it_may_come_at_any_time() -> None:
    sent = replace(SENT, settle_seconds=None)
    assert sent.may_have_made(node(NOW + 1e8))
    assert sent.seconds_to_settle(NOW) == 0.0


@pytest.mark.parametrize(
    ("now", "seconds"), [(NOW, 60.0), (NOW + 59, 1.0), (NOW + 60, 0.0), (NOW + 1e6, 0.0), (NOW - 1e6, 60.0)]
)
def test_it_is_waited_for_until_it_must_have_settled(now: float, seconds: float) -> None:
    # Never longer than that, however wrong a clock is.
    assert SENT.seconds_to_settle(now) == seconds


def test_what_others_own_is_no_candidate() -> None:
    machines = [node(id="node-1"), node(id="node-2"), node(id="node-before")]
    assert [found.id for found in candidates(SENT, machines, frozenset())] == ["node-1", "node-2"]
    assert [found.id for found in candidates(SENT, machines, frozenset({"node-1"}))] == ["node-2"]


@pytest.mark.parametrize(
    "attempt",
    [
        SENT,
        replace(
            SENT, before=frozenset(), settle_seconds=None, by_service_clock=False, generation=7, reported=True
        ),
        CompletedCreate(order=SENT.order, id="node-1"),
        CompletedCreate(order=SENT.order, id="node-1", generation=7, done=True),
    ],
    ids=str,
)
def test_it_comes_back_from_json_as_it_was(attempt: PendingCreate | CompletedCreate) -> None:
    assert create_record_from_json(create_record_to_json(attempt)) == attempt


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [],
        "node-1",
        {},
        {"format": 2, "stage": "made", "order": {}, "id": "node-1"},
        {"format": 1, "stage": "lost"},
        {"format": 1, "stage": "made", "order": {}},
        {"format": 1, "stage": "made", "order": {}, "id": "node-1", "colour": "red"},
        {"format": 1, "stage": "sent", "order": {}, "sent_at": 1.0},
    ],
    ids=str,
)
def test_what_another_version_wrote_is_not_guessed_at(stored: Any) -> None:
    with pytest.raises(BloqConfigurationError, match="not written by this version"):
        create_record_from_json(stored)
