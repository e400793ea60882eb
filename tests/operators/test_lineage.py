"""What tasks tell of what they read and wrote: to Airflow's collector, and to OpenLineage where that is installed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.operators._lineage import (
    DatasetName,
    StoredFile,
    distinct,
    node_dataset,
    operator_lineage,
)
from airflow_provider_bloq.operators.connect import BloqConnectOperator, BloqSendTransactionOperator
from airflow_provider_bloq.operators.jsonrpc import BloqFanOutOperator, BloqJsonRpcOperator
from tests.clients.scripted_node import NOWHERE, echo_all
from tests.hooks.conftest import Connect
from tests.operators.conftest import ServeNode
from tests.support.raw_server import RawServer

SECRET = "a-path-key-5f1c"


@pytest.fixture
def node(serve_node: ServeNode) -> RawServer:
    return serve_node(echo_all)


@pytest.mark.parametrize(
    ("url", "namespace", "name"),
    [
        ("file:///data/a.json", "file", "/data/a.json"),
        ("s3://aws_default@bucket/a/b.json", "s3://bucket", "a/b.json"),
        ("gcs://bucket/b.json", "gs://bucket", "b.json"),
        ("sftp://user:word@host/a/b.json", "sftp://host", "/a/b.json"),
    ],
)
def test_a_file_is_named_as_openlineage_names_files(url: str, namespace: str, name: str) -> None:
    assert StoredFile.of(url) == StoredFile(namespace, name)


@pytest.mark.parametrize(
    ("node", "dataset"),
    [
        ("node-1", DatasetName("bloq://nodes", "node-1")),
        ({"id": "cluster-1", "auth": {"type": "jwt"}}, DatasetName("bloq://nodes", "cluster-1")),
        (
            f"https://user:{SECRET}@rpc.example.com:8545/{SECRET}?key={SECRET}",
            DatasetName("https://rpc.example.com:8545", "json-rpc"),
        ),
    ],
)
def test_what_is_called_is_named_without_what_may_be_a_credential(
    node: str | dict[str, Any], dataset: DatasetName
) -> None:
    assert node_dataset(node) == dataset


def test_operations_are_named_once_in_order_and_not_without_end() -> None:
    assert distinct(["b", "a", "b"]) == ("b", "a")
    assert len(distinct(str(number) for number in range(1000))) == 20


#: With a plugin that reads lineage, as Airflow collects none without; in a process that has loaded no plugins yet.
COLLECTING = """
import json, sys
from airflow.sdk import ObjectStoragePath
from airflow.sdk.lineage import get_hook_lineage_collector
from airflow_provider_bloq.operators.jsonrpc import BloqJsonRpcOperator
call = BloqJsonRpcOperator(
    task_id="call", node=sys.argv[1], method="m", result_path=sys.argv[2], result_limit=0
)
call.execute({})
collected = get_hook_lineage_collector().collected_assets
print(json.dumps([each.asset.uri for each in collected.outputs]))
"""
READER = """
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk.lineage import HookLineageReader

class Reads(AirflowPlugin):
    name = "reads"
    hook_lineage_readers = [HookLineageReader]
"""


@pytest.mark.parametrize(
    ("name", "reader", "told"),
    [
        ("kept.json", True, True),
        ("kept.json", False, False),
        # No URI of an asset may be so long. The task has its result all the same.
        ("/".join(["deep" * 50] * 8) + "/kept.json", True, False),
    ],
    ids=["reader", "no reader", "too long"],
)
def test_airflow_is_told_of_a_file_that_was_written(
    node: RawServer, tmp_path: Path, name: str, reader: bool, told: bool
) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    if reader:
        (plugins / "reader.py").write_text(READER)
    path = f"file://{tmp_path}/{name}"
    environment = {**os.environ, "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins)}
    command = [sys.executable, "-c", COLLECTING, node.url, path]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout.splitlines()[-1]) == ([path] if told else [])
    assert json.loads((tmp_path / name).read_text()) == "m"


def test_without_openlineage_tasks_run_as_well(
    node: RawServer, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.extractors", None)
    call = BloqJsonRpcOperator(task_id="call", node=node.url, method="m")
    assert call.execute(context) == "m"
    assert call.get_openlineage_facets_on_complete(None) is None
    assert operator_lineage(inputs=[DatasetName("a", "b")]) is None


#: Extracts as OpenLineage's listener does.
Extract = Callable[[Any], Any]


@pytest.fixture
def extract() -> Extract:
    extractors: Any = import_module("airflow.providers.openlineage.extractors.base")
    return lambda task: extractors.DefaultExtractor(task).extract_on_complete(None)


def names(datasets: list[Any]) -> list[tuple[str, str]]:
    return [(dataset.namespace, dataset.name) for dataset in datasets]


def operations(told: Any) -> list[str]:
    return list(told.run_facets["bloq"].operations)


def test_openlineage_is_told_of_the_node_the_methods_and_the_file(
    node: RawServer, context: dict[str, Any], tmp_path: Path, extract: Extract
) -> None:
    url = f"{node.url}/{SECRET}"
    path = f"file://{tmp_path}/kept.json"
    call = BloqJsonRpcOperator(
        task_id="call",
        node=url,
        batch=["a", ["b", [SECRET]], "a"],
        result_path=path,
        result_limit=0,
    )
    call.execute(context)
    told = extract(call)
    assert names(told.inputs) == [(node.url, "json-rpc")]
    assert names(told.outputs) == [("file", f"{tmp_path}/kept.json")]
    assert operations(told) == ["a", "b"]
    assert SECRET not in repr(told)


def test_openlineage_is_told_of_many_calls_and_of_no_file_where_there_is_none(
    node: RawServer, context: dict[str, Any], extract: Extract
) -> None:
    many = BloqFanOutOperator(task_id="many", node=node.url, method="m", params_list=[[1], [2]])
    asyncio.run(many.aexecute(context))
    told = extract(many)
    assert (names(told.inputs), told.outputs) == ([(node.url, "json-rpc")], [])
    assert operations(told) == ["m"]


def test_openlineage_is_told_of_the_node_also_before_a_call(extract: Extract) -> None:
    told = extract(BloqJsonRpcOperator(task_id="call", node="node-1", method="m"))
    assert (names(told.inputs), told.outputs, told.run_facets) == ([("bloq://nodes", "node-1")], [], {})


def test_openlineage_is_told_of_the_chain_that_connect_is_asked_about(
    connect: Connect, extract: Extract
) -> None:
    connect(NOWHERE, NOWHERE)
    asked = extract(BloqConnectOperator(task_id="asked", chain="btc", network="mainnet", endpoint="info"))
    sent = extract(BloqSendTransactionOperator(task_id="sent", chain="btc", raw_transaction=SECRET))
    assert (names(asked.inputs), asked.outputs) == ([("bloq://connect", "btc/mainnet")], [])
    assert operations(asked) == ["info"]
    # The usual network of a local environment.
    assert (sent.inputs, names(sent.outputs)) == ([], [("bloq://connect", "btc/regtest")])
    assert SECRET not in repr(sent)
