"""Where results go: into XCom up to a size, beyond it to a file that another try replaces as a whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach

from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqResultTooLarge
from airflow_provider_bloq.operators._results import RESULT_LIMIT, returned
from airflow_provider_bloq.operators.jsonrpc import BloqJsonRpcOperator
from tests.operators.conftest import ServeNode, context_of
from tests.support.raw_server import RawServer

TEXT = "0x" + "ab" * 49
#: Its bytes as JSON: with two quotes.
SIZE = 102


@pytest.fixture
def node(serve_node: ServeNode) -> RawServer:
    """Answers every call with the text."""
    return serve_node(lambda call: {"jsonrpc": "2.0", "id": call["id"], "result": TEXT})


def call(node: RawServer, **arguments: Any) -> BloqJsonRpcOperator:
    return BloqJsonRpcOperator(task_id="call", node=node.url, method="m", **arguments)


@pytest.mark.parametrize("limit", [SIZE, SIZE + 1, RESULT_LIMIT, None])
def test_a_result_up_to_the_limit_is_returned_and_no_file_is_made(
    node: RawServer, context: dict[str, Any], tmp_path: Path, limit: int | None
) -> None:
    kept = call(node, result_limit=limit, result_path=str(tmp_path / "kept.json"))
    assert kept.execute(context) == TEXT
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [0, SIZE - 1])
def test_a_larger_one_goes_to_the_file_whose_path_is_returned(
    node: RawServer, context: dict[str, Any], tmp_path: Path, limit: int
) -> None:
    kept = call(node, result_limit=limit, result_path=f"file://{tmp_path}/deep/er/kept.json")
    path = kept.execute(context)
    assert isinstance(path, str)
    assert json.loads(ObjectStoragePath(path).read_text()) == TEXT
    assert [file.name for file in tmp_path.rglob("*.json*")] == ["kept.json"]


def test_without_a_path_it_fails_for_good_and_says_what_helps(
    node: RawServer, context: dict[str, Any]
) -> None:
    with pytest.raises(BloqResultTooLarge, match=r"102 bytes .* result_path") as too_large:
        call(node, result_limit=SIZE - 1).execute(context)
    assert isinstance(too_large.value, AirflowFailException)
    assert (too_large.value.size, too_large.value.limit) == (SIZE, SIZE - 1)


def test_the_path_names_the_connection_of_its_storage(
    node: RawServer, context: dict[str, Any], tmp_path: Path
) -> None:
    kept = call(node, result_limit=0, result_path=f"file://{tmp_path}/kept.json", result_conn_id="files")
    path = ObjectStoragePath(kept.execute(context))
    assert path.conn_id == "files"
    assert json.loads(path.read_text()) == TEXT


@pytest.mark.parametrize(
    ("map_index", "name"), [(-1, "a_task.json"), (0, "a_task.0.json"), (7, "a_task.7.json")]
)
def test_in_a_folder_no_two_tasks_share_a_file(
    node: RawServer, tmp_path: Path, map_index: int, name: str
) -> None:
    kept = call(node, result_limit=0, result_path=f"file://{tmp_path}/")
    path = kept.execute(context_of(map_index))
    assert path.endswith(f"{tmp_path}/a_dag/a_run/{name}")
    assert json.loads(ObjectStoragePath(path).read_text()) == TEXT


def test_another_try_replaces_the_file(tmp_path: Path) -> None:
    file = ObjectStoragePath(f"file://{tmp_path}/kept.json")
    for result in ([1] * 100, [2]):
        assert returned(result, 0, file, "task") == str(file)
        assert json.loads(file.read_text()) == result
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]


#: In a process of its own: the limit on the size of files would hold for all that the tests write.
A_FULL_DISK = """
import resource, sys
from airflow.sdk import ObjectStoragePath
from airflow_provider_bloq.operators._results import returned
file = ObjectStoragePath(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    returned("x" * 100_000, 0, file, "task")
except OSError as error:
    print(type(error).__name__)
"""


def test_a_try_that_cannot_write_it_leaves_the_old_file_whole(tmp_path: Path) -> None:
    file = ObjectStoragePath(f"file://{tmp_path}/kept.json")
    returned("of the first try", 0, file, "task")
    script = [sys.executable, "-c", A_FULL_DISK, str(file)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.stdout == "OSError\n", done.stderr
    assert json.loads(file.read_text()) == "of the first try"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]


class Bucket:
    """As much of an object store as a put needs."""

    def __init__(self) -> None:
        self.puts: list[tuple[str, bytes]] = []

    def pipe_file(self, path: str, value: bytes) -> None:
        self.puts.append((path, value))


def test_an_object_store_is_given_the_object_in_one_put() -> None:
    bucket = Bucket()
    attach("s3", "bucket_conn", fs=bucket)
    path = returned([1, 2], 0, ObjectStoragePath("s3://bucket/a/kept.json", conn_id="bucket_conn"), "task")
    assert path == "s3://bucket_conn@bucket/a/kept.json"
    assert bucket.puts == [("bucket/a/kept.json", b"[1,2]")]


@pytest.mark.parametrize("path", ["nowhere://bucket/key", "gs://user:word@bucket/key"])
def test_storage_that_is_not_there_fails_the_task_before_the_call(
    node: RawServer, context: dict[str, Any], path: str
) -> None:
    with pytest.raises(BloqConfigurationError, match=f"no storage for {path[:2]}") as wrong:
        call(node, result_path=path).execute(context)
    assert isinstance(wrong.value, AirflowFailException)
    assert "word" not in str(wrong.value)
    assert node.requests == []


def test_a_folder_in_the_place_of_the_file_is_refused_before_the_call(
    node: RawServer, context: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(BloqConfigurationError, match="Append / to store") as refused:
        call(node, result_path=str(tmp_path)).execute(context)
    assert refused.value.fields == ("result_path",)
    assert node.requests == []


def test_what_is_not_pushed_may_be_of_any_size(node: RawServer, context: dict[str, Any]) -> None:
    assert call(node, result_limit=SIZE - 1, do_xcom_push=False).execute(context) == TEXT
