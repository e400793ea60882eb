"""Every example DAG runs against the local Bloq service, with its client keys in a real Vault."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.testing.stack import LocalStack

EXAMPLES = Path(__file__).parents[2] / "example_dags"


@pytest.mark.anvil
@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_an_example_dag_succeeds(name: str, connections: LocalStack, run_dag: Callable[..., Any]) -> None:
    conf = {"calls": 2, "pause": 0} if name == "bloq_quickstart" else {}
    run = run_dag(dag_of(name), run_conf=conf)
    assert {task.task_id: task.state for task in run.get_task_instances()} == dict.fromkeys(
        (task.task_id for task in run.get_task_instances()), "success"
    )
    assert not [node for node in connections.bloq.counters().rpc_calls if node not in all_nodes(connections)]


def all_nodes(stack: LocalStack) -> set[str]:
    from airflow_provider_bloq.hooks.bloq import BloqHook

    return {node.id for node in BloqHook().nodes.list()}


def dag_of(name: str) -> Any:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))[name]()
