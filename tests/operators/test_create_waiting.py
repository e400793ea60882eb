"""Waiting on the worker until what was created has started."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_bloq.exceptions import (
    BloqClientKeysRejected,
    BloqConfigurationError,
    BloqError,
    BloqNotStarted,
)
from airflow_provider_bloq.operators.nodes import BloqCreateNodeOperator
from airflow_provider_bloq.testing.local import Fault, FaultKind
from tests.hooks.conftest import Connect, new_keys
from tests.operators.creates import Account
from tests.operators.lives import TaskLife

NO_NOTES: list[dict[str, Any]] = [{"has_store": False}, {"durable": False}]


def nothing_happens() -> None:
    """Let a pause pass."""


def started_after(task: TaskLife, account: Account, pauses: int) -> None:
    """Have all that the account has ready after so many pauses."""

    def ready() -> None:
        if len(task.time.pauses) == pauses:
            account.bloq.finish_provisioning()

    task.time.in_pauses = ready


def test_any_state_but_the_known_ones_means_not_yet(account: Account) -> None:
    task = account.task(poll_interval=7.0)
    started_after(task, account, pauses=3)
    assert task.attempt()["state"] == "started"
    assert task.time.pauses == [7.0, 7.0, 7.0]


def test_the_result_tells_a_node_s_certificate_and_no_credentials(account: Account) -> None:
    result = account.task(auth_type="basic").attempt()
    assert result["auth"] == {"type": "basic"}
    shown = account.bloq.node_fingerprint(result["id"]) if account.kind == "nodes" else None
    assert result.get("tls_fingerprint") == shown


def test_it_does_not_wait_where_it_is_not_to(account: Account) -> None:
    task = account.task(wait_for_completion=False)
    assert task.attempt()["state"] == "starting"
    assert task.time.pauses == []


@pytest.mark.parametrize("name", ["poll_interval", "timeout"])
@pytest.mark.parametrize("value", [-1, timedelta(seconds=-1), float("nan"), float("inf"), "soon", True, None])
def test_what_is_no_duration_is_refused_before_anything_is_created(name: str, value: Any) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(BloqConfigurationError) as wrong:
        BloqCreateNodeOperator(task_id="create", service_id="service-1", **arguments)
    assert wrong.value.fields == (name,)
    assert "'create'" in str(wrong.value)
    assert isinstance(wrong.value, AirflowFailException)


@pytest.mark.parametrize("seven", [7, "7", timedelta(seconds=7)], ids=repr)
def test_a_duration_may_be_given_in_any_way(account: Account, seven: Any) -> None:
    task = account.task(poll_interval=seven, timeout=seven)
    task.time.in_pauses = nothing_happens
    with pytest.raises(BloqNotStarted):
        task.attempt()
    assert task.time.pauses == [7.0]


def test_no_interval_is_a_busy_loop(account: Account) -> None:
    task = account.task(poll_interval=0)
    started_after(task, account, pauses=3)
    task.attempt()
    assert task.time.pauses == [0.1, 0.1, 0.1]


def rate_limited(account: Account, seconds: int) -> str:
    """Have all looks refused from the second list on: the first one is that of the create itself."""
    path = f"/users/me/{account.kind}"
    kind = FaultKind.RATE_LIMIT
    return account.bloq.add_fault(
        Fault(kind=kind, service="nodes", method="GET", path=path, after=1, times=None, retry_after=seconds)
    )


def test_a_service_that_asks_for_it_is_left_alone(account: Account) -> None:
    task = account.task(poll_interval=0.5)
    fault = rate_limited(account, 300)

    def ready() -> None:
        account.bloq.clear_faults()
        account.bloq.finish_provisioning()

    task.time.in_pauses = ready
    task.attempt()
    (pause,) = task.time.pauses
    assert 300 <= pause <= 330
    assert account.bloq.faults_struck().get(fault, 1) == 1


@pytest.mark.parametrize("seconds", [60, 300], ids=["the client itself would wait", "it would not"])
def test_nothing_is_asked_before_that_though_the_deadline_comes(account: Account, seconds: int) -> None:
    task = account.task(poll_interval=0.5, timeout=10.0)
    fault = rate_limited(account, seconds)
    task.time.in_pauses = nothing_happens
    with pytest.raises(BloqNotStarted, match="in time"):
        task.attempt()
    assert task.time.pauses == [10.0]
    assert account.bloq.faults_struck()[fault] == 1


def test_a_failed_look_does_not_lose_it(account: Account) -> None:
    task = account.task()
    started_after(task, account, pauses=30)
    account.bloq.add_fault(
        Fault(kind=FaultKind.STATUS, status=500, service="nodes", method="GET", after=1, times=20)
    )
    assert task.attempt()["state"] == "started"
    assert account.posts() == 1


@pytest.mark.parametrize("limit", [{"timeout": 25.0}, {"execution_timeout": timedelta(seconds=25)}], ids=str)
def test_waiting_ends_with_its_time_and_a_retry_goes_on_with_it(
    account: Account, limit: dict[str, Any]
) -> None:
    task = account.task(poll_interval=10.0, **limit)
    task.time.in_pauses = nothing_happens
    with pytest.raises(BloqNotStarted, match="not started in time.*'starting'") as late:
        task.attempt()
    assert task.time.pauses == [10.0, 10.0, 5.0]
    assert set(account.listed()) == {late.value.node_id}
    # So that Airflow and the retry policy try again.
    assert late.value.retryable
    assert not isinstance(late.value, AirflowFailException)
    account.bloq.finish_provisioning()
    assert task.attempt()["id"] == late.value.node_id


@pytest.mark.parametrize("options", NO_NOTES, ids=str)
def test_without_notes_what_does_not_start_fails_the_task_for_good(
    account: Account, options: dict[str, Any]
) -> None:
    task = account.task(timeout=1.0, **options)
    task.time.in_pauses = nothing_happens
    with pytest.raises(BloqNotStarted) as late:
        task.attempt()
    assert isinstance(late.value, AirflowFailException)
    assert set(account.listed()) == {late.value.node_id}


@pytest.mark.parametrize("options", [{}, *NO_NOTES], ids=str)
def test_what_is_deleted_while_it_starts_is_not_waited_for(account: Account, options: dict[str, Any]) -> None:
    task = account.task(**options)
    task.time.in_pauses = lambda: account.api.delete(*account.listed())
    with pytest.raises(BloqNotStarted, match="was stopped") as gone:
        task.attempt()
    assert not gone.value.retryable
    assert len(task.time.pauses) == 1
    # With notes the next try, if there is one, would know that it is gone.
    assert isinstance(gone.value, AirflowFailException) is bool(options)


def test_where_kills_delete_the_next_try_may_meet_the_deletion(account: Account) -> None:
    task = account.task(cancel_on_kill=True)
    task.time.in_pauses = lambda: account.api.delete(*account.listed())
    with pytest.raises(BloqNotStarted) as gone:
        task.attempt()
    assert gone.value.retryable
    task.time.in_pauses = account.bloq.finish_provisioning
    assert task.attempt()["id"] != gone.value.node_id


@pytest.mark.parametrize("options", [{}, *NO_NOTES], ids=str)
def test_an_error_after_the_create_never_has_it_created_again(
    account: Account, options: dict[str, Any]
) -> None:
    task = account.task(**options)
    # The look at it, once it has started, to return it.
    account.bloq.add_fault(
        Fault(kind=FaultKind.STATUS, status=500, service="nodes", method="GET", path="/users/me/*/*", times=9)
    )
    with pytest.raises(BloqError) as failure:
        task.attempt()
    if options:
        assert isinstance(failure.value, AirflowFailException)
    else:
        task.attempt()
    assert account.posts() == 1


def test_keys_that_are_refused_while_it_waits_fail_the_task_for_good(
    account: Account, connect: Connect
) -> None:
    keys = new_keys(account.bloq)
    connect(account.bloq.accounts_url, account.bloq.nodes_url, keys)
    task = account.task()

    def withdrawn() -> None:
        account.bloq.delete_client_keys(keys.client_id)
        account.bloq.revoke_access_tokens(keys.client_id)

    task.time.in_pauses = withdrawn
    with pytest.raises(BloqNotStarted) as failure:
        task.attempt()
    assert isinstance(failure.value.__cause__, BloqClientKeysRejected)
    assert not failure.value.retryable
