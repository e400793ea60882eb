"""Links beside a task: to the file of its result, and to what its error means; never with a credential in them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_bloq import exceptions
from airflow_provider_bloq.exceptions import BloqError, BloqQuotaExceeded
from airflow_provider_bloq.get_provider_info import get_provider_info
from airflow_provider_bloq.hooks._failures import BloqConfigurationFailure
from airflow_provider_bloq.operators._lineage import StoredFile
from airflow_provider_bloq.operators.connect import BloqConnectOperator
from airflow_provider_bloq.operators.jsonrpc import BloqJsonRpcOperator
from airflow_provider_bloq.operators.links import BloqErrorLink, BloqResultLink, error_page, file_page
from tests.operators.conftest import ServeNode

DOCS = "https://docs.example.com/bloq/"
REFERENCE = "https://docs.example.com/bloq/docs/reference/exceptions.html#airflow_provider_bloq.exceptions."


class Runner:
    """As much of what runs a task as Airflow has links made of."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    def get_template_context(self) -> dict[str, Any]:
        return {"exception": self._error}


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("file:///data/kept.json", "file:///data/kept.json"),
        ("/data/kept.json", "file:///data/kept.json"),
        (
            "s3://aws_default@bucket/a b/kept.json",
            "https://console.aws.amazon.com/s3/object/bucket?prefix=a%20b/kept.json",
        ),
        ("s3a://bucket/k?e#y", "https://console.aws.amazon.com/s3/object/bucket?prefix=k%3Fe%23y"),
        (
            "gs://conn@bucket/kept.json",
            "https://console.cloud.google.com/storage/browser/_details/bucket/kept.json",
        ),
        ("abfs://conn@container/kept.json", "abfs://container/kept.json"),
        ("sftp://user:word@host:2022/kept.json", "sftp://host:2022/kept.json"),
        ("https://host/kept.json?sig=word", "https://host/kept.json"),
    ],
)
def test_a_file_is_shown_where_it_can_be_looked_at_and_without_credentials(url: str, page: str) -> None:
    assert file_page(StoredFile.of(url)) == page


def test_the_link_leads_to_the_file_that_the_result_went_to(
    serve_node: ServeNode, context: dict[str, Any], tmp_path: Path
) -> None:
    node = serve_node(lambda call: {"jsonrpc": "2.0", "id": call["id"], "result": "0x1"})
    path = f"file://{tmp_path}/kept.json"
    stores = BloqJsonRpcOperator(task_id="t", node=node.url, method="m", result_path=path, result_limit=0)
    keeps = BloqJsonRpcOperator(task_id="t", node=node.url, method="m", result_path=path)
    for task in (stores, keeps):
        task.execute(context)
    link = BloqResultLink()
    assert link.get_link(stores, ti_key=Runner(None)) == path
    assert link.get_link(keeps, ti_key=Runner(None)) == ""


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (BloqQuotaExceeded("no more"), "BloqQuotaExceeded"),
        (BloqConfigurationFailure.of("port", "odd", "mend it"), "BloqConfigurationError"),
    ],
)
def test_an_error_leads_to_what_its_class_means(
    error: BloqError, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__BLOQ__DOCS_URL", DOCS)
    assert BloqErrorLink().get_link(None, ti_key=Runner(error)) == REFERENCE + name
    assert name in exceptions.__all__


@pytest.mark.parametrize("error", [None, ValueError("of others")])
def test_no_other_error_leads_anywhere(error: BaseException | None) -> None:
    assert error_page(error, DOCS) == ""


def test_without_documentation_no_error_leads_anywhere() -> None:
    assert error_page(BloqQuotaExceeded("no more"), "") == ""


def test_where_airflow_hands_over_no_more_than_a_key_the_link_is_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__BLOQ__DOCS_URL", DOCS)
    assert BloqErrorLink().get_link(None, ti_key=object()) == ""


def test_a_task_has_the_link_to_a_file_only_where_there_can_be_one() -> None:
    with DAG("linked", schedule=None) as dag:
        BloqJsonRpcOperator(task_id="stores", node="node-1", method="m", result_path="file:///data/")
        BloqJsonRpcOperator(task_id="keeps", node="node-1", method="m")
        BloqConnectOperator(task_id="asks", chain="btc", endpoint="info", result_path="file:///data/")
    restored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert {task.task_id: set(task.extra_links) for task in restored.tasks} == {
        "stores": {"Result file"},
        "keeps": set(),
        "asks": {"Result file"},
    }


LINKS_OF_ALL = """
from airflow_provider_bloq.decorators.bloq import _BloqDecoratedOperator
from airflow_provider_bloq.operators.jsonrpc import BloqJsonRpcOperator
from airflow_provider_bloq.operators.nodes import BloqGetNodeOperator
from airflow_provider_bloq.sensors.nodes import BloqNodeSensor
call = BloqJsonRpcOperator(task_id="call", node="node-1", method="m")
for task in (_BloqDecoratedOperator, BloqGetNodeOperator, BloqNodeSensor, call):
    print([link.name for link in task.operator_extra_links])
"""


@pytest.mark.parametrize(("docs_url", "links"), [(DOCS, "['About the error']"), ("", "[]")])
def test_tasks_have_the_link_to_the_error_only_where_documentation_is(docs_url: str, links: str) -> None:
    # In a process of its own: the setting is read once, when the module is loaded.
    environment = {**os.environ, "AIRFLOW__BLOQ__DOCS_URL": docs_url}
    command = [sys.executable, "-c", LINKS_OF_ALL]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-4:] == [links] * 4


def test_airflow_knows_the_links_and_the_setting() -> None:
    info: dict[str, Any] = get_provider_info()
    named = {f"{kind.__module__}.{kind.__name__}" for kind in (BloqErrorLink, BloqResultLink)}
    assert set(info["extra-links"]) == named
    assert list(info["config"]["bloq"]["options"]) == ["docs_url"]
