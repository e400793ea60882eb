"""The token broker in a real DAG: a member keeps the token fresh, a task without any keys works with it."""

from __future__ import annotations

import json
import runpy
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.testing.stack import LocalStack
from tests.support.real_fleet import RealFleet

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "bloq_token_broker.py"


@pytest.fixture
def fleet(connections: LocalStack, monkeypatch: pytest.MonkeyPatch) -> RealFleet:
    """A fleet behind the connections that the example names."""
    fleet = RealFleet(connections.bloq, connections.vault, f"broker-{uuid.uuid4().hex[:8]}")
    made = fleet.connections()
    made["bloq_broker"] = made.pop("bloq_member")
    made["bloq_default"] = made.pop("bloq_reader")
    for conn_id, connection in made.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    return fleet


@pytest.mark.slow
def test_bloq_token_broker(fleet: RealFleet, run_dag: Callable[..., Any]) -> None:
    fleet.bloq.reset_counters()
    results = []
    for _ in range(2):
        # Each run is one of processes that know nothing of the others.
        shared_providers.forget()
        run = run_dag(runpy.run_path(str(EXAMPLE))["bloq_token_broker"]())
        tasks = {task.task_id: task for task in run.get_task_instances()}
        assert {name: task.state for name, task in tasks.items()} == dict.fromkeys(tasks, "success")
        assert tasks["list_nodes"].xcom_pull(task_ids="list_nodes") == []
        results.append(tasks["keep_fresh"].xcom_pull(task_ids="keep_fresh"))
    assert [result["renewed"] for result in results] == [True, False]
    assert [result["version"] for result in results] == [1, 1]
    assert fleet.bloq.counters().mints == 1
    stored = fleet.stored()
    assert stored is not None
    assert stored.secret.reveal() not in json.dumps(results)
