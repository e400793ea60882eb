"""A create leaves exactly one, wherever its worker dies and however its answer is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_bloq.exceptions import (
    BloqAmbiguousCreate,
    BloqConfigurationError,
    BloqNotFound,
    BloqQuotaExceeded,
    BloqUnavailable,
)
from airflow_provider_bloq.flow.effects import RunBlocking, Send
from airflow_provider_bloq.nodes.create_once import SERVICE_SKEW
from airflow_provider_bloq.testing.local import Fault, FaultKind
from tests.operators.creates import Account
from tests.operators.lives import POINTS, FakeRun, Killed, Point

BEFORE_POST, AFTER_POST, AFTER_ANSWER, AFTER_CLAIM, SAVED, WAITING = POINTS
#: Seconds after which the service has acted: twice the default timeout.
SETTLES_IN = 60.0


def lost(kind: FaultKind = FaultKind.LOST_RESPONSE) -> Fault:
    return Fault(kind=kind, service="nodes", method="POST", path="/users/me/*")


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_a_worker_that_dies_leaves_exactly_one_after_the_retry(account: Account, point: Point) -> None:
    task = account.task()
    with pytest.raises(Killed):
        task.attempt(point)
    result = task.attempt()
    assert account.listed() == {result["id"]: "started"}
    assert account.posts() == 1


@pytest.mark.parametrize(
    "point",
    [
        Point("while it reads the note", RunBlocking, 1, counted_from_create=False),
        Point("while it looks for it", Send, 1, after=True, counted_from_create=False),
        Point("before it claims it anew", RunBlocking, 2, counted_from_create=False),
    ],
    ids=lambda point: point.name,
)
def test_the_retry_can_die_as_well(account: Account, point: Point) -> None:
    task = account.task()
    for death in (WAITING, point):
        with pytest.raises(Killed):
            task.attempt(death)
    result = task.attempt()
    assert account.listed() == {result["id"]: "started"}
    assert account.posts() == 1


def test_a_retry_after_success_returns_the_same(account: Account) -> None:
    task = account.task()
    first = task.attempt()
    # The worker was lost before Airflow had taken note of the success.
    assert task.attempt() == first
    assert account.listed() == {first["id"]: "started"}


def test_a_task_that_is_cleared_after_success_creates_another_one(account: Account) -> None:
    task = account.task()
    first = task.attempt()
    task.clear()
    second = task.attempt()
    assert account.listed() == {first["id"]: "started", second["id"]: "started"}
    assert task.attempt() == second, "a retry of the cleared task is a retry"
    assert account.posts() == 2


def test_a_cleared_task_whose_worker_dies_leaves_one_more_only(account: Account) -> None:
    task = account.task()
    first = task.attempt()
    task.clear()
    with pytest.raises(Killed):
        task.attempt(AFTER_POST)
    second = task.attempt()
    assert account.listed() == {first["id"]: "started", second["id"]: "started"}


def test_a_task_that_is_cleared_before_it_was_done_takes_up_what_it_has_created(account: Account) -> None:
    task = account.task()
    with pytest.raises(Killed):
        task.attempt(WAITING)
    task.clear()
    result = task.attempt()
    assert account.listed() == {result["id"]: "started"}


def test_what_was_deleted_meanwhile_is_created_anew(account: Account) -> None:
    task = account.task()
    with pytest.raises(Killed):
        task.attempt(WAITING)
    (gone,) = account.listed()
    account.api.delete(gone)
    result = task.attempt()
    assert account.listed() == {gone: "stopped", result["id"]: "started"}


def test_an_error_that_says_not_found_is_no_proof_that_it_is_gone(account: Account) -> None:
    task = account.task()
    with pytest.raises(Killed):
        task.attempt(WAITING)
    account.bloq.add_fault(Fault(kind=FaultKind.STATUS, status=404, service="nodes", method="GET"))
    with pytest.raises(BloqNotFound):
        task.attempt()
    task.attempt()
    assert account.posts() == 1


@pytest.mark.parametrize("fault", [FaultKind.LOST_RESPONSE, FaultKind.TRUNCATED_JSON])
def test_a_lost_answer_is_found_again_and_noted(account: Account, fault: FaultKind) -> None:
    account.bloq.add_fault(lost(fault))
    task = account.task()
    result = task.attempt()
    assert account.listed() == {result["id"]: "started"}
    assert task.note["id"] == result["id"]


def test_among_creates_at_the_same_time_a_lost_one_is_left_to_a_person(account: Account) -> None:
    task = account.task(exclusive_creates=False)
    with pytest.raises(Killed):
        task.attempt(AFTER_POST)
    (candidate,) = account.listed()
    for _ in range(2):
        with pytest.raises(BloqAmbiguousCreate, match="worker was lost") as unknown:
            task.attempt()
        assert isinstance(unknown.value, AirflowFailException)
        assert unknown.value.candidates == (candidate,)
    assert set(account.listed()) == {candidate}
    assert account.posts() == 1


@pytest.mark.parametrize("death", [AFTER_POST, None])
def test_once_a_person_was_told_a_clear_creates_anew(account: Account, death: Point | None) -> None:
    task = account.task(exclusive_creates=False)
    if death is None:
        account.bloq.add_fault(lost())
    else:
        with pytest.raises(Killed):
            task.attempt(death)
    with pytest.raises(BloqAmbiguousCreate) as unknown:
        task.attempt()
    task.clear()
    result = task.attempt()
    assert account.listed() == {unknown.value.candidates[0]: "started", result["id"]: "started"}


def test_what_another_has_created_meanwhile_is_not_taken(account: Account) -> None:
    task = account.task()
    with pytest.raises(Killed):
        task.attempt(AFTER_POST)
    foreign = account.by_somebody_else()
    with pytest.raises(BloqAmbiguousCreate) as unknown:
        task.attempt()
    assert set(unknown.value.candidates) == set(account.listed())
    assert foreign in unknown.value.candidates
    assert account.posts() == 2


def test_what_is_of_another_auth_type_cannot_be_its_own(account: Account) -> None:
    task = account.task()
    with pytest.raises(Killed):
        task.attempt(AFTER_POST)
    (own,) = account.listed()
    account.by_somebody_else(auth_type="basic")
    assert task.attempt()["id"] == own


def test_what_was_created_long_after_the_request_cannot_be_its_own(account: Account) -> None:
    task = account.task()
    with pytest.raises(Killed):
        task.attempt(BEFORE_POST)
    account.bloq.advance_clock(SETTLES_IN + SERVICE_SKEW + 1)
    foreign = account.by_somebody_else()
    result = task.attempt()
    assert set(account.listed()) == {foreign, result["id"]}
    assert result["id"] != foreign


def test_a_request_that_may_be_under_way_is_waited_for(account: Account) -> None:
    task = account.task(wait_for_completion=False)
    with pytest.raises(Killed):
        task.attempt(BEFORE_POST)
    late: list[str] = []
    # The service is slow: what the dead worker has asked for comes now.
    task.time.in_pauses = lambda: late.append(account.by_somebody_else())
    assert [task.attempt()["id"]] == late
    assert task.time.pauses == [pytest.approx(SETTLES_IN, abs=SERVICE_SKEW)]
    assert account.posts() == 1


def test_a_request_of_long_ago_is_not_waited_for(account: Account) -> None:
    task = account.task(wait_for_completion=False)
    with pytest.raises(Killed):
        task.attempt(BEFORE_POST)
    account.bloq.advance_clock(SETTLES_IN + 2)
    task.attempt()
    assert task.time.pauses == []
    assert account.posts() == 1


def test_what_was_refused_is_not_looked_for(account: Account) -> None:
    task = account.task()
    account.bloq.add_fault(
        Fault(kind=FaultKind.LIMIT_EXCEEDED, service="nodes", method="POST", path="/users/me/*")
    )
    with pytest.raises(BloqQuotaExceeded):
        task.attempt()
    assert task.note is None
    foreign = account.by_somebody_else()
    result = task.attempt()
    assert set(account.listed()) == {foreign, result["id"]}


def test_what_was_never_sent_is_not_looked_for(account: Account) -> None:
    task = account.task()
    account.bloq.add_fault(
        Fault(kind=FaultKind.RATE_LIMIT, service="nodes", method="POST", retry_after=3600, path="/users/me/*")
    )
    with pytest.raises(Exception, match="429"):
        task.attempt()
    assert task.note is None


def test_the_time_of_the_request_is_that_of_the_last_one_sent(account: Account) -> None:
    task = account.task(wait_for_completion=False)
    account.bloq.add_fault(
        Fault(kind=FaultKind.RATE_LIMIT, service="nodes", method="POST", retry_after=100, path="/users/me/*")
    )
    with pytest.raises(Killed):
        task.attempt(Point("at the second request", Send, number=2))
    first = task.note["sent_at"]
    account.bloq.clear_faults()
    task.store.delete("bloq_create")
    with pytest.raises(Killed):
        task.attempt(BEFORE_POST)
    # The worker's time has gone on by the pause, and so has the service's that is reckoned by it.
    assert first - task.note["sent_at"] == pytest.approx(100, abs=10)


def test_other_arguments_do_not_leave_the_first_one_behind(account: Account) -> None:
    task = account.task()
    with pytest.raises(Killed):
        task.attempt(WAITING)
    (first,) = account.listed()
    task.make = account.task(auth_type="basic").make
    with pytest.raises(BloqConfigurationError, match=f"authType.*{first}"):
        task.attempt()
    account.api.delete(first)
    assert task.attempt()["auth"] == {"type": "basic"}
    assert account.posts() == 2


def test_a_note_that_cannot_be_read_creates_nothing(account: Account) -> None:
    task = account.task()
    task.store.set("bloq_create", {"format": 2, "stage": "sent"})
    with pytest.raises(BloqConfigurationError, match="not written by this version") as unreadable:
        task.attempt()
    assert isinstance(unreadable.value, AirflowFailException)
    assert account.listed() == {}


def test_notes_and_claims_hold_nothing_secret(account: Account) -> None:
    task = account.task(auth_type="basic")
    result = task.attempt()
    auth = account.api.get(result["id"]).auth
    assert auth is not None
    assert auth.user is not None
    assert auth.password is not None
    said = json.dumps([task.note, list(task.run.xcoms.values())])
    assert auth.user.reveal() not in said
    assert auth.password.reveal() not in said


@pytest.mark.parametrize("options", [{"has_store": False}, {"durable": False}], ids=str)
def test_without_notes_a_lost_answer_is_still_found_within_the_try(
    account: Account, options: dict[str, Any]
) -> None:
    account.bloq.add_fault(lost())
    task = account.task(**options)
    result = task.attempt()
    assert account.listed() == {result["id"]: "started"}
    assert task.note is None
    assert task.run.xcoms["create", -1, "bloq_created"] == result["id"]


def test_five_at_once_and_one_whose_worker_dies(account: Account) -> None:
    run = FakeRun()
    tasks = [account.task(run, map_index=index) for index in range(5)]
    results = {index: tasks[index].attempt() for index in (0, 1)}
    with pytest.raises(Killed):
        tasks[2].attempt(AFTER_POST)
    # In a pool of one slot, the others may go on before the retry comes.
    results |= {index: tasks[index].attempt() for index in (3, 4)}
    results[2] = tasks[2].attempt()
    assert {result["id"] for result in results.values()} == set(account.listed())
    assert len(account.listed()) == 5


#: What a task does not know of when its worker dies there, and the others neither.
UNKNOWN = (AFTER_POST, AFTER_ANSWER)


@pytest.mark.parametrize("point", [BEFORE_POST, *UNKNOWN], ids=lambda point: point.name)
@pytest.mark.parametrize("other", POINTS, ids=lambda point: point.name)
def test_two_whose_workers_die_do_not_own_the_same(nodes: Account, point: Point, other: Point) -> None:
    run = FakeRun()
    one, two = (nodes.task(run, map_index=index) for index in range(2))
    for task, death in ((one, point), (two, other)):
        with pytest.raises(Killed):
            task.attempt(death)
    if point in UNKNOWN and other in UNKNOWN:
        there = nodes.listed()
        with pytest.raises(BloqAmbiguousCreate) as unknown:
            one.attempt()
        assert set(unknown.value.candidates) == set(nodes.listed()) == set(there)
        return
    ids = {one.attempt()["id"], two.attempt()["id"]}
    assert ids == set(nodes.listed())
    assert len(ids) == 2


def test_what_is_taken_up_is_claimed_anew(account: Account) -> None:
    task = account.task()
    with pytest.raises(Killed):
        task.attempt(WAITING)
    result = task.attempt()
    # The claim of the first try went when the second one began.
    assert task.run.xcoms["create", -1, "bloq_created"] == result["id"]


def test_what_failed_for_now_is_left_to_the_next_try(account: Account) -> None:
    task = account.task()
    account.bloq.add_fault(
        Fault(kind=FaultKind.STATUS, status=503, service="nodes", method="GET", retry_after=3600)
    )
    with pytest.raises(BloqUnavailable):
        task.attempt()
    task.attempt()
    assert account.posts() == 1
