"""A killed task leaves what it has begun alone, unless it was told to undo it; and it never touches another's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_bloq.exceptions import BloqNotStarted
from airflow_provider_bloq.flow.effects import Flow, run_blocking
from airflow_provider_bloq.operators.nodes import BloqCreateNodeOperator
from airflow_provider_bloq.polling.serialization import timeout_event
from airflow_provider_bloq.testing.local import Fault, FaultKind
from airflow_provider_bloq.triggers.wait import CancellingTrigger
from tests.operators.creates import Account
from tests.operators.lives import POINTS, Killed, TaskLife


class Interrupted(BaseException):
    """What Airflow raises into a task to end it."""


def killed_in_its_first_pause(task: TaskLife) -> None:
    """Run a task that is killed as soon as it waits."""

    def kill() -> None:
        # Airflow calls this out of a signal handler, in the midst of whatever the task does.
        task.operator.on_kill()
        raise Interrupted

    task.time.in_pauses = kill
    with pytest.raises(Interrupted):
        task.attempt()


def trigger_of(task: TaskLife) -> Any:
    with pytest.raises(TaskDeferred) as deferral:
        task.attempt()
    return deferral.value.trigger


@pytest.mark.parametrize(
    ("options", "state"), [({}, "starting"), ({"cancel_on_kill": True}, "stopped")], ids=str
)
def test_a_killed_task_deletes_what_it_has_created_only_if_told_to(
    account: Account, options: dict[str, Any], state: str
) -> None:
    foreign = account.by_somebody_else()
    killed_in_its_first_pause(account.task(**options))
    states = account.listed()
    assert states.pop(foreign) == "starting"
    assert list(states.values()) == [state]


def test_a_killed_task_deletes_what_it_has_taken_up(account: Account) -> None:
    task = account.task(cancel_on_kill=True)
    with pytest.raises(Killed):
        task.attempt(POINTS[1])
    killed_in_its_first_pause(task)
    assert list(account.listed().values()) == ["stopped"]


def test_after_that_a_cleared_task_creates_anew(account: Account) -> None:
    task = account.task(cancel_on_kill=True)
    killed_in_its_first_pause(task)
    task.time.in_pauses = account.bloq.finish_provisioning
    task.clear()
    result = task.attempt()
    assert sorted(account.listed().values()) == ["started", "stopped"]
    assert account.listed()[result["id"]] == "started"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_before_or_after_the_work_deletes_nothing(account: Account, moment: str) -> None:
    task = account.task(cancel_on_kill=True)
    if moment == "after":
        task.attempt()
    else:
        account.by_somebody_else()
        task.operator = task.make()
    task.operator.on_kill()
    assert "stopped" not in account.listed().values()


@pytest.mark.parametrize("kind", [FaultKind.STALL_HEADERS, FaultKind.STATUS])
def test_a_service_that_does_not_answer_does_not_hold_the_kill_up(account: Account, kind: FaultKind) -> None:
    account.bloq.add_fault(Fault(kind=kind, service="nodes", method="DELETE", times=None))
    task = account.task(cancel_on_kill=True)
    make = task.make

    def impatient() -> Any:
        operator = make()
        operator.kill_budget = 0.1
        return operator

    task.make = impatient
    killed_in_its_first_pause(task)
    account.bloq.clear_faults()
    assert "stopped" not in account.listed().values()


def test_what_cannot_be_undone_for_a_lock_does_not_hold_the_kill_up(account: Account) -> None:
    held = threading.Event()

    class Stuck(BloqCreateNodeOperator):
        kill_budget = 0.1

        def cancellation(self, service: dict[str, Any]) -> Flow[Any]:
            return run_blocking(held.wait)

    operator = Stuck(task_id="create", service_id=account.service_id, cancel_on_kill=True)
    operator.on_kill()
    # Reached although what undoes it is still waiting.
    assert not held.is_set()
    held.set()


@pytest.mark.parametrize(
    ("options", "state"), [({}, "starting"), ({"cancel_on_kill": True}, "stopped")], ids=str
)
async def test_a_trigger_deletes_what_its_task_has_created_only_if_told_to(
    account: Account, options: dict[str, Any], state: str
) -> None:
    foreign = account.by_somebody_else()
    trigger: CancellingTrigger = trigger_of(account.task(deferrable=True, **options))
    kind, arguments = trigger.serialize()
    assert kind.endswith("StartTrigger")
    await type(trigger)(**arguments).on_kill()
    states = account.listed()
    assert states.pop(foreign) == "starting"
    assert list(states.values()) == [state]


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(
    ("limits", "state"),
    [
        ({"execution_timeout": timedelta(seconds=5), "timeout": 60.0}, "stopped"),
        ({"execution_timeout": timedelta(seconds=60), "timeout": 5.0}, "starting"),
        ({"timeout": 5.0}, "starting"),
    ],
    ids=str,
)
def test_only_the_execution_timeout_counts_as_a_kill(
    account: Account, limits: dict[str, Any], state: str, deferrable: bool
) -> None:
    task = account.task(cancel_on_kill=True, deferrable=deferrable, **limits)
    task.time.in_pauses = lambda: None
    with pytest.raises(BloqNotStarted):
        in_time_or_not(task, deferrable)()
    assert list(account.listed().values()) == [state]


def in_time_or_not(task: TaskLife, deferrable: bool) -> Callable[[], Any]:
    if not deferrable:
        return task.attempt
    with pytest.raises(TaskDeferred) as deferral:
        task.attempt()
    kwargs = deferral.value.kwargs
    assert kwargs is not None
    return lambda: task.resume(timeout_event("too late"), **kwargs)
