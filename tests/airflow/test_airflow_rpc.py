"""Calls, many calls and ``@task.bloq`` in real Airflow; and retries by the provider's policy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.hooks.retries import BloqRetryPolicy
from airflow_provider_bloq.testing.local import Fault, FaultKind
from airflow_provider_bloq.testing.stack import LocalStack

CHAIN_ID = "0x7a69"
ADDRESSES = [f"0x{number:040x}" for number in range(60)]

RunDag = Callable[..., Any]


@pytest.fixture
def node(connections: LocalStack) -> Iterator[dict[str, Any]]:
    """A node as ``BloqCreateNodeOperator`` returns it."""
    hook = BloqHook()
    created = hook.nodes.create(connections.bloq.service_id("eth"))
    yield {**created.public(), "tls_fingerprint": connections.bloq.node_fingerprint(created.id)}
    hook.nodes.delete(created.id)


def calling_dag(node: Any, folder: Path) -> Any:
    from airflow.sdk import DAG, task

    from airflow_provider_bloq.decorators.bloq import bloq_task
    from airflow_provider_bloq.operators.jsonrpc import BloqFanOutOperator, BloqJsonRpcOperator

    def hooked(**options: Any) -> Callable[[Any], Any]:
        return bloq_task(**options)

    def plain(**options: Any) -> Callable[[Any], Any]:
        decorator: Callable[[Any], Any] = task(**options)
        return decorator

    with DAG("calling", schedule=None) as dag:

        @plain()
        def list_calls() -> list[Any]:
            return [[address, "latest"] for address in ADDRESSES]

        @hooked()
        def chain_id(bloq: BloqHook, node: Any, times: int, task_instance: Any = None) -> Any:
            return [task_instance.map_index, *bloq.rpc(node).batch(["eth_chainId"] * times)]

        @hooked(multiple_outputs=True)
        async def chain_id_too(bloq: BloqAsyncHook, node: Any) -> dict[str, Any]:
            return {"id": await bloq.rpc(node).call("eth_chainId"), "conn": bloq.bloq_conn_id}

        one = BloqJsonRpcOperator(
            task_id="one",
            node=node,
            method="eth_getBlockByNumber",
            rpc_params=["0x0", False],
            response_filter="{number: number}",
        )
        BloqJsonRpcOperator.partial(task_id="each", node=node, method="eth_getBalance").expand(
            rpc_params=[[ADDRESSES[1], "latest"], [ADDRESSES[2], "latest"]]
        )
        many = BloqFanOutOperator(
            task_id="many", node=node, method="eth_getBalance", params_list=list_calls(), batch_size=7
        )
        stored = BloqFanOutOperator(
            task_id="stored",
            node=node,
            calls=["eth_chainId", "eth_noSuchMethod"],
            on_error="list",
            result_limit=0,
            result_path=f"file://{folder}/{{{{ dag.dag_id }}}}/",
        )
        one >> [many, stored]
        chain_id.partial(node=node).expand(times=[1, 2])
        chain_id_too(node)
    return dag


@pytest.mark.anvil
def test_calls_many_calls_and_decorated_functions(
    node: dict[str, Any], run_dag: RunDag, tmp_path: Path
) -> None:
    run = run_dag(calling_dag(node, tmp_path))
    tasks = run.get_task_instances()
    assert {(task.task_id, task.state) for task in tasks} == {(task.task_id, "success") for task in tasks}
    results = {(task.task_id, task.map_index): pulled(task) for task in tasks}
    assert results["one", -1] == {"number": "0x0"}
    assert [results["each", index] for index in (0, 1)] == ["0x0", "0x0"]
    assert results["many", -1] == ["0x0"] * 60
    assert [results["chain_id", index] for index in (0, 1)] == [[0, CHAIN_ID], [1, CHAIN_ID, CHAIN_ID]]
    assert results["chain_id_too", -1] == {"id": CHAIN_ID, "conn": "bloq_default"}
    assert {pulled(task, key="id") for task in tasks if task.task_id == "chain_id_too"} == {CHAIN_ID}
    # The result is in the file that XCom names, and XCom has no more of it.
    path = results["stored", -1]
    assert path == f"file://{tmp_path}/calling/calling/{run.run_id}/stored.json"
    stored = json.loads(Path(path.removeprefix("file://")).read_text())
    assert stored["results"] == [CHAIN_ID, None]
    assert [(error["index"], error["code"]) for error in stored["errors"]] == [(1, -32601)]


def test_the_decorator_is_found_as_one_of_airflows_tasks() -> None:
    from airflow.sdk import task

    from airflow_provider_bloq.decorators.bloq import bloq_task

    # By the provider's metadata, which Airflow reads from the installed package.
    tasks: Any = task
    assert tasks.bloq is bloq_task


@pytest.fixture
def faulty(connections: LocalStack) -> Iterator[LocalStack]:
    """Faults may be put in force; they end with the test."""
    yield connections
    connections.bloq.clear_faults()


def listing_dag(policy: BloqRetryPolicy) -> Any:
    from airflow.sdk import DAG

    from airflow_provider_bloq.operators.nodes import BloqListNodesOperator

    with DAG("listing", schedule=None) as dag:
        BloqListNodesOperator(
            task_id="list", retries=3, retry_delay=timedelta(seconds=0), retry_policy=policy
        )
    return dag


def test_a_limited_task_is_tried_again_when_the_service_says(faulty: LocalStack, run_dag: RunDag) -> None:
    # Longer than the hook waits by itself; and than a test should.
    faulty.bloq.add_fault(
        Fault(kind=FaultKind.RATE_LIMIT, service="nodes", path="/users/me/nodes", retry_after=3600)
    )
    (task,) = run_dag(listing_dag(BloqRetryPolicy(max_retry_after=0.5))).get_task_instances()
    assert (task.state, task.try_number) == ("success", 2)
    assert decision_on_first_try_of(task) == (0.5, "The service asks to wait 3600 s.")


def pulled(task: Any, key: str = "return_value") -> Any:
    return task.xcom_pull(task_ids=task.task_id, map_indexes=task.map_index, key=key)


def decision_on_first_try_of(task: Any) -> tuple[float | None, str | None]:
    """Return by how much the policy had the task wait for its second try, in seconds, and why."""
    from airflow.models.taskinstancehistory import TaskInstanceHistory
    from airflow.utils.session import create_session

    with create_session() as session:
        first = (
            session.query(TaskInstanceHistory)
            .filter_by(dag_id=task.dag_id, run_id=task.run_id, task_id=task.task_id, try_number=1)
            .one()
        )
        return first.retry_delay_override, first.retry_reason
