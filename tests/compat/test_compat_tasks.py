"""Tasks on every supported Airflow: a whole run of a DAG, a trigger by itself, a watcher without its store."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import DAG

from airflow_provider_bloq.hooks import retries
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.nodes.conditions import NodeState
from airflow_provider_bloq.operators.nodes import BloqCreateNodeOperator
from airflow_provider_bloq.polling.serialization import condition_to_json, result_of
from airflow_provider_bloq.sensors.nodes import BloqNodeSensor
from airflow_provider_bloq.testing.stack import LocalTeam
from airflow_provider_bloq.triggers.wait import BloqWaitTrigger
from tests.compat.conftest import AIRFLOW, Run

pytestmark = pytest.mark.compat

#: What is told in the log where Airflow is older than 3.3: each once in a process, though more tasks meet it.
LACKS = ("has no retry policies", "has no task state store: a retry")


def test_a_dag_runs_to_its_end_and_what_this_airflow_lacks_is_told_once(
    bloq_connection: LocalTeam, run_python: Run
) -> None:
    folder = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "COMPAT_SERVICE": bloq_connection.bloq.service_id("btc"),
    }
    run_python("-m", "airflow", "db", "migrate", **folder)
    told = run_python("-m", "airflow", "dags", "test", "compat_tasks", **folder)
    assert "state: started" in told
    assert [node.state for node in BloqHook().nodes.list()] == ["stopped"]
    times = 0 if AIRFLOW >= (3, 3) else 1
    assert [told.count(lack) for lack in LACKS] == [times] * len(LACKS)
    assert bloq_connection.keys.client_secret not in told


def test_a_task_defers_and_goes_on_and_tells_once_that_its_trigger_hears_of_no_kill(
    bloq_connection: LocalTeam, caplog: pytest.LogCaptureFixture, nothing_told: None
) -> None:
    with DAG("deferring"), caplog.at_level(logging.WARNING, retries.__name__):
        for task_id in ("first", "second"):
            created = create_deferred(bloq_connection.bloq.service_id("btc"), task_id)
            assert BloqHook().nodes.get(created["id"]).state == "started"
    told = [record for record in caplog.messages if "does not notify triggers" in record]
    assert len(told) == (0 if AIRFLOW >= (3, 3) else 1)


def create_deferred(service_id: str, task_id: str) -> dict[str, Any]:
    """Run a task as a worker and a triggerer do together: its first part, its trigger, its second part."""
    task = BloqCreateNodeOperator(
        task_id=task_id, service_id=service_id, deferrable=True, poll_interval=0.2, cancel_on_kill=True
    )
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context_of())
    kind, arguments = deferred.value.trigger.serialize()
    trigger = type(deferred.value.trigger)(**arguments)
    assert kind.endswith(f".{type(trigger).__name__}")

    async def event() -> Any:
        return [event.payload async for event in trigger.run()]

    (payload,) = asyncio.run(event())
    assert deferred.value.method_name == "execute_complete"
    return task.execute_complete(context_of(), payload, **(deferred.value.kwargs or {}))


def test_a_sensor_in_reschedule_mode_tells_once_that_nothing_is_remembered(
    bloq_connection: LocalTeam, caplog: pytest.LogCaptureFixture, nothing_told: None
) -> None:
    node = BloqHook().nodes.create(bloq_connection.bloq.service_id("btc"))
    with DAG("rescheduled"), caplog.at_level(logging.WARNING, retries.__name__):
        for task_id in ("first", "second"):
            BloqNodeSensor(task_id=task_id, node=node.id, mode="reschedule").poke(context_of())
    assert len([record for record in caplog.messages if "in reschedule mode" in record]) == 1


@pytest.fixture
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process be one that has not told of anything yet."""
    monkeypatch.setattr(retries, "_warned", set())


def context_of() -> dict[str, Any]:
    """Make as much of a task's context as is asked for, without a state store, as before Airflow 3.3."""
    stub = SimpleNamespace(
        try_number=1, xcom_push=lambda **_: None, run_id="run", dag_id="dag", task_id="task"
    )
    return {"ti": stub, "task_instance": stub, "run_id": "run"}


async def test_a_trigger_waits_for_what_a_sensor_defers(bloq_connection: LocalTeam) -> None:
    node = await asyncio.to_thread(BloqHook().nodes.create, bloq_connection.bloq.service_id("btc"))
    condition = condition_to_json(NodeState(node.id, "started"))
    kind, arguments = BloqWaitTrigger("bloq_default", condition, poll_interval=0.2).serialize()
    assert kind.endswith(".BloqWaitTrigger")
    events = [event.payload async for event in BloqWaitTrigger(**arguments).run()]
    assert [result_of(event)["id"] for event in events] == [node.id]
