"""A create without notes: whatever ends a try that may have created something, there is no other try."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, TaskDeferred
from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout

from airflow_provider_bloq.exceptions import (
    BloqAmbiguousCreate,
    BloqConfigurationError,
    BloqNotStarted,
    BloqUnavailable,
)
from airflow_provider_bloq.flow.effects import RunBlocking
from airflow_provider_bloq.testing.local import Fault, FaultKind
from tests.operators.creates import Account
from tests.operators.lives import POINTS, Killed, Point, TaskLife

BEFORE_POST, AFTER_POST = POINTS[:2]
WITHOUT_NOTES = pytest.mark.parametrize(
    "options", [{"has_store": False}, {"durable": False}], ids=["no store", "not durable"]
)
#: Airflow tries again after each of them.
ENDS = [AirflowTaskTimeout("Timeout"), TypeError("a defect"), SystemExit(1), KeyboardInterrupt()]
EVERY_END = pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)


def ended_while_it_waits(task: TaskLife, end: BaseException) -> TaskLife:
    def strike() -> None:
        raise end

    task.time.in_pauses = strike
    return task


@EVERY_END
@WITHOUT_NOTES
def test_whatever_ends_its_wait_fails_it_for_good_with_the_id(
    account: Account, options: dict[str, Any], end: BaseException
) -> None:
    task = ended_while_it_waits(account.task(**options), end)
    with pytest.raises(BloqNotStarted, match="delete it") as failure:
        task.attempt()
    assert isinstance(failure.value, AirflowFailException)
    assert failure.value.__cause__ is end
    assert set(account.listed()) == {failure.value.node_id}


@EVERY_END
def test_with_notes_airflow_is_left_to_decide(nodes: Account, end: BaseException) -> None:
    task = ended_while_it_waits(nodes.task(), end)
    with pytest.raises(type(end)):
        task.attempt()
    task.time.in_pauses = nodes.bloq.finish_provisioning
    task.attempt()
    assert nodes.posts() == 1


@WITHOUT_NOTES
def test_an_end_between_the_request_and_its_answer_fails_it_for_good(
    account: Account, options: dict[str, Any]
) -> None:
    task = account.task(**options)
    with pytest.raises(BloqAmbiguousCreate, match="new one") as failure:
        task.attempt(AFTER_POST)
    assert isinstance(failure.value, AirflowFailException)
    assert isinstance(failure.value.__cause__, Killed)
    assert account.posts() == 1


def test_an_end_right_after_the_answer_has_the_id(account: Account) -> None:
    task = account.task(durable=False)
    with pytest.raises(BloqNotStarted) as failure:
        task.attempt(Point("before the XCom", RunBlocking))
    assert isinstance(failure.value, AirflowFailException)
    assert set(account.listed()) == {failure.value.node_id}


def test_an_end_before_the_request_leaves_another_try(account: Account) -> None:
    task = account.task(durable=False)
    with pytest.raises(Killed):
        task.attempt(Point("before the list", BEFORE_POST.kind, counted_from_create=False))
    assert task.attempt()["state"] == "started"
    assert account.posts() == 1


def test_a_refused_create_leaves_another_try(account: Account) -> None:
    account.bloq.add_fault(
        Fault(kind=FaultKind.STATUS, status=503, service="nodes", method="GET", times=1, retry_after=3600)
    )
    task = account.task(durable=False)
    with pytest.raises(BloqUnavailable) as failure:
        task.attempt()
    assert not isinstance(failure.value, AirflowFailException)
    assert task.attempt()["state"] == "started"


@pytest.mark.parametrize(("cancel", "state"), [(True, "stopped"), (False, "starting")])
def test_the_execution_timeout_is_a_kill_all_the_same(account: Account, cancel: bool, state: str) -> None:
    task = account.task(durable=False, cancel_on_kill=cancel)
    with pytest.raises(BloqNotStarted):
        ended_while_it_waits(task, AirflowTaskTimeout("Timeout")).attempt()
    assert list(account.listed().values()) == [state]


def deferred(task: TaskLife) -> dict[str, Any]:
    with pytest.raises(TaskDeferred) as deferral:
        task.attempt()
    assert deferral.value.kwargs is not None
    return deferral.value.kwargs


@pytest.mark.parametrize(
    ("error", "cause"), [("Trigger timeout", TaskDeferralTimeout), ("Trigger failure", TaskDeferralError)]
)
@pytest.mark.parametrize("map_index", [-1, 2])
@WITHOUT_NOTES
def test_a_trigger_that_airflow_ended_fails_it_for_good_with_the_id(
    account: Account, options: dict[str, Any], map_index: int, error: str, cause: type[Exception]
) -> None:
    task = account.task(deferrable=True, map_index=map_index, **options)
    created = deferred(task)["id"]
    with pytest.raises(BloqNotStarted) as failure:
        task.resume_without_trigger(error)
    assert isinstance(failure.value, AirflowFailException)
    assert isinstance(failure.value.__cause__, cause)
    assert failure.value.node_id == created


def test_where_the_id_is_nowhere_it_says_that_there_is_something(account: Account) -> None:
    task = account.task(deferrable=True, durable=False)
    deferred(task)
    # As where a former version deferred.
    task.run.xcoms.clear()
    with pytest.raises(BloqAmbiguousCreate) as failure:
        task.resume_without_trigger("Trigger timeout")
    assert isinstance(failure.value, AirflowFailException)


def test_with_notes_a_trigger_that_airflow_ended_is_waited_for_anew(account: Account) -> None:
    task = account.task(deferrable=True)
    created = deferred(task)["id"]
    with pytest.raises(TaskDeferralTimeout):
        task.resume_without_trigger("Trigger timeout")
    assert deferred(task)["id"] == created


def test_arguments_of_another_version_fail_it_for_good(account: Account) -> None:
    task = account.task(deferrable=True, durable=False)
    kwargs = deferred(task)
    task.run.xcoms.clear()
    with pytest.raises(BloqNotStarted) as failure:
        task.resume(None, **kwargs, unheard_of=1)
    assert isinstance(failure.value.__cause__, TypeError)
    assert isinstance(failure.value, AirflowFailException)
    assert failure.value.node_id == kwargs["id"]


def test_an_order_that_cannot_be_right_is_told_as_that(nodes: Account) -> None:
    with pytest.raises(BloqConfigurationError, match="none"):
        nodes.task(durable=False, auth_type="none").attempt()
    assert nodes.posts() == 0
