"""Every example DAG runs against the local Bloq service, with its client keys in a real Vault."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.stack import LocalStack

EXAMPLES = Path(__file__).parents[2] / "example_dags"
#: What the local anvil chain says of itself.
CHAIN_ID = 31337

RunDag = Callable[..., Any]


@pytest.fixture
def run_example(connections: LocalStack, run_dag: RunDag) -> Callable[..., dict[str, Any]]:
    """Run an example by its name; returns the result of each task, all of which succeeded."""

    def run(name: str, **conf: Any) -> dict[str, Any]:
        dag_run = run_dag(runpy.run_path(str(EXAMPLES / f"{name}.py"))[name](), run_conf=conf)
        tasks = dag_run.get_task_instances()
        assert {task.task_id: task.state for task in tasks} == {task.task_id: "success" for task in tasks}
        return {task.task_id: task.xcom_pull(task_ids=task.task_id) for task in tasks}

    return run


def test_each_example_has_a_test_here() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_bloq_")}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested


@pytest.mark.anvil
def test_bloq_quickstart(run_example: Callable[..., dict[str, Any]], connections: LocalStack) -> None:
    results = run_example("bloq_quickstart", calls=2, pause=0)
    node = results["create_node"]
    assert len(node["tls_fingerprint"].replace(":", "")) == 64
    assert (node["chain"], node["auth"]) == ("eth", {"type": "jwt"})
    chain_id, balance = results["read_balances"]
    assert int(chain_id, 16) == CHAIN_ID
    assert int(balance, 16) >= 0
    assert len(results["watch_head"]) == 2
    assert connections.bloq.counters().rpc_calls[node["id"]]["eth_blockNumber"] == 2
    assert state_of(node["id"]) == "stopped"


@pytest.mark.anvil
def test_bloq_web3(run_example: Callable[..., dict[str, Any]]) -> None:
    results = run_example("bloq_web3")
    assert results["read_chain"]["chain"] == CHAIN_ID
    assert state_of(results["create_node"]["id"]) == "stopped"


def test_bloq_http_operator(run_example: Callable[..., dict[str, Any]]) -> None:
    results = run_example("bloq_http_operator")
    assert {"btc", "eth"} <= set(results["list_services"])
    assert results["list_nodes"] == [node.id for node in BloqHook().nodes.list()]


def test_bloq_async_task(run_example: Callable[..., dict[str, Any]]) -> None:
    stock = run_example("bloq_async_task")["take_stock"]
    assert {"btc", "eth"} <= set(stock["chains"])
    assert stock["nodes"] == len(BloqHook().nodes.list())
    assert stock["clusters"] == 0


def state_of(node_id: str) -> str:
    return BloqHook().nodes.get(node_id).state
