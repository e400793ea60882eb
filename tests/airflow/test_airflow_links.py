"""Airflow keeps the links of a task that has run: to the file of its result, and to what its error means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.operators.jsonrpc import BloqJsonRpcOperator
from airflow_provider_bloq.operators.links import BloqErrorLink
from airflow_provider_bloq.operators.nodes import BloqGetNodeOperator
from airflow_provider_bloq.testing.stack import LocalStack

RunDag = Callable[..., Any]


def links_of(dag_run: Any) -> dict[tuple[str, int], dict[str, str]]:
    """Return the links of each task and map index, as Airflow's web page asks for them."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        dag: Any = SerializedDagModel.get_dag(dag_run.dag_id, session=session)
    found = {}
    for ti in dag_run.get_task_instances():
        task = dag.get_task(ti.task_id)
        found[ti.task_id, ti.map_index] = {name: task.get_extra_links(ti, name) for name in task.extra_links}
    return found


@pytest.mark.anvil
def test_the_file_of_a_result_is_linked_to(connections: LocalStack, run_dag: RunDag, tmp_path: Path) -> None:
    node = BloqHook().nodes.create(connections.bloq.service_id("eth"))
    common: dict[str, Any] = {
        "node": node.id,
        "tls_fingerprint": connections.bloq.node_fingerprint(node.id),
        "method": "eth_getBlockByNumber",
        "result_path": f"file://{tmp_path}/",
    }
    with DAG("linking", schedule=None) as dag:
        BloqJsonRpcOperator(task_id="stored", rpc_params=["0x0", False], result_limit=0, **common)
        BloqJsonRpcOperator(task_id="kept", rpc_params=["0x0", False], **common)
        BloqJsonRpcOperator.partial(task_id="mapped", result_limit=0, **common).expand(
            rpc_params=[["0x0", False]]
        )

    run = run_dag(dag)

    folder = f"file://{tmp_path}/linking/{run.run_id}"
    assert links_of(run) == {
        ("stored", -1): {"Result file": f"{folder}/stored.json"},
        ("kept", -1): {"Result file": ""},
        ("mapped", 0): {"Result file": f"{folder}/mapped.0.json"},
    }


def test_an_error_is_linked_to_what_it_means(
    connections: LocalStack, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__BLOQ__DOCS_URL", "https://docs.example.com")
    # As the class has it where the setting was there before the module was loaded.
    monkeypatch.setattr(BloqGetNodeOperator, "operator_extra_links", (BloqErrorLink(),))
    with DAG("failing", schedule=None) as dag:
        BloqGetNodeOperator(task_id="fails", node="node-that-is-gone")
        BloqGetNodeOperator(task_id="refused", node={"no": "id"})

    page = "https://docs.example.com/docs/reference/exceptions.html#airflow_provider_bloq.exceptions."
    assert links_of(run_dag(dag)) == {
        ("fails", -1): {"About the error": f"{page}BloqNotFound"},
        ("refused", -1): {"About the error": f"{page}BloqConfigurationError"},
    }
