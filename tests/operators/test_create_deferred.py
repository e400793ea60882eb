"""A create that waits in the triggerer: what it hands over, and what it does when the event comes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_bloq.exceptions import BloqForeignEvent, BloqNotFound, BloqNotStarted
from airflow_provider_bloq.polling.serialization import failed_event, met_event, timeout_event
from airflow_provider_bloq.triggers.wait import (
    BloqClusterStartTrigger,
    BloqNodeStartTrigger,
    CancellingTrigger,
)
from tests.operators.creates import Account
from tests.operators.lives import POINTS, Killed, TaskLife

TRIGGERS = {"nodes": BloqNodeStartTrigger, "clusters": BloqClusterStartTrigger}


@dataclass(frozen=True)
class Deferral:
    """What a task has handed over."""

    trigger: CancellingTrigger
    method_name: str
    kwargs: dict[str, Any]
    timeout: Any


def deferred(task: TaskLife) -> Deferral:
    with pytest.raises(TaskDeferred) as raised:
        task.attempt()
    deferral: Any = raised.value
    return Deferral(deferral.trigger, deferral.method_name, deferral.kwargs, deferral.timeout)


async def event_of(deferral: Deferral) -> Any:
    """Run the trigger as the triggerer would, made anew of what was stored of it."""
    _, arguments = deferral.trigger.serialize()
    trigger = type(deferral.trigger)(**json.loads(json.dumps(arguments)))
    return [event.payload async for event in trigger.run()]


def test_it_hands_over_ids_and_times_only(account: Account) -> None:
    task = account.task(deferrable=True, auth_type="basic", poll_interval=9.0, timeout=100.0)
    deferral = deferred(task)
    (created,) = account.listed()
    path, arguments = deferral.trigger.serialize()
    assert path == f"{TRIGGERS[account.kind].__module__}.{TRIGGERS[account.kind].__name__}"
    deadline = task.time.now + 100.0
    assert arguments == {
        "bloq_conn_id": "bloq_default",
        "condition": {
            "kind": account.kind[:-1] + "_state",
            account.kind[:-1] + "_id": created,
            "state": "started",
        },
        "poll_interval": 9.0,
        "deadline": deadline,
        "memory": None,
        "max_consecutive_failures": arguments["max_consecutive_failures"],
        "cancel_on_kill": False,
    }
    assert (deferral.method_name, deferral.kwargs) == (
        "execute_complete",
        {"id": created, "deadline": deadline},
    )
    assert deferral.timeout > timedelta(seconds=100)


async def test_when_it_has_started_the_result_is_that_of_a_task_that_waited_itself(account: Account) -> None:
    task = account.task(deferrable=True)
    deferral = deferred(task)
    account.bloq.finish_provisioning()
    (event,) = await event_of(deferral)
    assert event["status"] == "met"
    result = task.resume(event, **deferral.kwargs)
    (created,) = account.listed()
    assert (result["id"], result["state"]) == (created, "started")
    assert ("tls_fingerprint" in result) is (account.kind == "nodes")
    assert task.note["done"] is True


def test_what_has_started_already_is_not_deferred_for(account: Account) -> None:
    task = account.task(deferrable=True)
    with pytest.raises(Killed):
        task.attempt(POINTS[1])
    account.bloq.finish_provisioning()
    assert task.attempt()["state"] == "started"


def test_a_retry_defers_for_the_same_again(account: Account) -> None:
    task = account.task(deferrable=True)
    # Such as a worker that was lost after the event had come.
    first, second = deferred(task), deferred(task)
    assert first.kwargs["id"] == second.kwargs["id"]
    assert account.posts() == 1


@pytest.mark.parametrize("has_store", [True, False])
def test_what_does_not_start_in_time_is_named(account: Account, has_store: bool) -> None:
    task = account.task(deferrable=True, has_store=has_store)
    deferral = deferred(task)
    with pytest.raises(BloqNotStarted, match="in time: it is syncing") as late:
        task.resume(timeout_event("it is syncing"), **deferral.kwargs)
    assert late.value.node_id in account.listed()
    assert late.value.retryable is has_store
    assert isinstance(late.value, AirflowFailException) is not has_store


def test_a_list_that_is_older_than_what_was_created_is_no_bad_news(account: Account) -> None:
    task = account.task(deferrable=True)
    deferral = deferred(task)
    missing = failed_event(BloqNotFound("it is not in the list"))
    with pytest.raises(TaskDeferred) as again:
        task.resume(missing, **deferral.kwargs)
    assert again.value.kwargs == deferral.kwargs
    account.bloq.finish_provisioning()
    assert task.resume(missing, **deferral.kwargs)["state"] == "started"


def test_what_was_deleted_meanwhile_is_bad_news(account: Account) -> None:
    task = account.task(deferrable=True)
    deferral = deferred(task)
    account.api.delete(deferral.kwargs["id"])
    with pytest.raises(BloqNotStarted) as gone:
        task.resume(failed_event(BloqNotFound("it is not in the list")), **deferral.kwargs)
    assert not gone.value.retryable


@pytest.mark.parametrize("has_store", [True, False])
def test_an_event_of_another_version_never_has_it_created_again(account: Account, has_store: bool) -> None:
    task = account.task(deferrable=True, has_store=has_store)
    deferral = deferred(task)
    with pytest.raises(BloqNotStarted) as failure:
        task.resume(None, **deferral.kwargs)
    assert isinstance(failure.value.__cause__, BloqForeignEvent)
    assert isinstance(failure.value, AirflowFailException) is not has_store


def test_an_event_that_came_too_early_has_it_wait_on(account: Account) -> None:
    task = account.task(deferrable=True)
    deferral = deferred(task)
    with pytest.raises(TaskDeferred):
        task.resume(met_event({}), **deferral.kwargs)
