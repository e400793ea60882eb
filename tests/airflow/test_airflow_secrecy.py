"""No secret is in a log, in XCom, in a rendered field or anywhere in the metadata database."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.local import LocalBloqOptions
from airflow_provider_bloq.testing.stack import KEYS_PATH, LocalStack

EXAMPLES = Path(__file__).parents[2] / "example_dags"

CANARY_DAG = """
from airflow.sdk import dag, task
from airflow_provider_bloq.operators.jsonrpc import BloqJsonRpcOperator
from airflow_provider_bloq.operators.nodes import (
    BloqCreateNodeOperator, BloqDeleteNodeOperator, BloqListNodesOperator,
)

@dag(schedule=None)
def canaries():
    @task
    def service():
        from airflow_provider_bloq.hooks.bloq import BloqHook
        return next(offer.id for offer in BloqHook().nodes.services() if offer.chain == "eth")

    @task
    def talkative(node):
        from airflow_provider_bloq.hooks.bloq import BloqHook
        hook = BloqHook()
        print("access-token", hook.get_access_token())
        print("node", hook.nodes.get(node["id"]))
        print("node-password", hook.nodes.get(node["id"]).raw["auth"]["pass"])
        print("settings", hook.settings)
        try:
            hook.nodes.get("node-0")
        except Exception as error:
            print("error", repr(error))

    create = BloqCreateNodeOperator(task_id="create", service_id=service(), auth_type="basic")
    node = create.output
    call = BloqJsonRpcOperator(task_id="call", node=node, method="eth_blockNumber")
    create >> BloqListNodesOperator(task_id="list", include_stopped=True) >> call
    [call, talkative(node)] >> BloqDeleteNodeOperator(task_id="delete", node=node)

canaries()
"""


@pytest.fixture(scope="module")
def short_lived() -> Iterator[LocalStack]:
    with LocalStack(LocalBloqOptions(access_token_seconds=3)) as stack:
        yield stack


@pytest.fixture(scope="module")
def airflow(short_lived: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    dags = tmp_path_factory.mktemp("dags")
    shutil.copy(EXAMPLES / "bloq_quickstart.py", dags)
    (dags / "canaries.py").write_text(CANARY_DAG)
    with LocalAirflow(dags) as running:
        for conn_id, fields in short_lived.connections().items():
            running.add_connection(conn_id, fields)
        yield running


def found(secret: str, haystack: bytes) -> bool:
    """Look for a secret as it is, and in base64 wherever it may begin in the encoded text."""
    raw = secret.encode()
    # The first and last characters also encode what stands beside the secret.
    encoded = [base64.b64encode(b"x" * shift + raw)[4:-4] for shift in range(3)]
    return any(needle in haystack for needle in [raw, *encoded])


def test_the_search_finds_what_is_there() -> None:
    assert found("a-long-enough-secret", b"..a-long-enough-secret..")
    for prefix in (b"", b"u:", b"uv:"):
        assert found("a-long-enough-secret", base64.b64encode(prefix + b"a-long-enough-secret"))
    assert not found("a-long-enough-secret", b"a-long-enough secret")


@pytest.mark.anvil
def test_no_secret_is_left_behind(airflow: LocalAirflow, short_lived: LocalStack) -> None:
    runs = [
        ("bloq_quickstart", airflow.trigger("bloq_quickstart", {"calls": 10, "pause": 0.5})),
        ("canaries", airflow.trigger("canaries")),
    ]
    assert [airflow.wait(dag_id, run_id) for dag_id, run_id in runs] == ["success", "success"]

    files = [path for path in airflow.logs.rglob("*") if path.is_file()]
    logs = b"\n".join(path.read_bytes() for path in files) + airflow.log_tail(2000).encode()
    database = b"\n".join(path.read_bytes() for path in airflow.home.glob("airflow.db*"))

    assert b"node-password ***" in logs
    # Airflow leaves a JWT its first three letters, which all JWTs share.
    assert re.findall(rb'"event":"access-token (?:eyJ)?([^"]*)', logs) == [b"***"]
    assert KEYS_PATH.encode() in logs
    assert short_lived.bloq.nodes_url.encode() in logs

    seen = short_lived.bloq.counters().tokens
    digests = {digest for tokens in seen.values() for digest in tokens}
    assert digests
    for text in (logs, database):
        for secret in (short_lived.keys.client_secret, short_lived.connections()["vault_bloq"]["password"]):
            assert not found(secret, text)
        jwts = set(re.findall(rb"eyJ[\w-]+\.[\w-]+\.[\w-]+", text))
        assert not {hashlib.sha256(jwt).hexdigest() for jwt in jwts} & digests
        assert not re.search(rb"(?<![\w.])(?:hv[sb]|[sb])\.[A-Za-z0-9]{24,}", text)
    assert not re.search(rb'"pass": ?"(?!\*)', database)


@pytest.mark.anvil
def test_the_test_button_tells_what_it_found_and_no_secret(
    airflow: LocalAirflow, short_lived: LocalStack
) -> None:
    extra = short_lived.connections()["bloq_default"]
    good = {"connection_id": "bloq_default", "conn_type": "bloq"}
    answer = airflow.call(
        "POST",
        "connections/test",
        json={**good, "host": extra["host"], "extra": json.dumps(extra["extra"])},
    )
    assert answer["status"] is True, answer
    assert "Client keys: found" in answer["message"]
    broken = {**extra["extra"], "vault_path": "bloq/elsewhere"}
    answer = airflow.call(
        "POST", "connections/test", json={**good, "host": extra["host"], "extra": json.dumps(broken)}
    )
    assert answer["status"] is False
    assert "vault_path" in answer["message"]
    assert not found(short_lived.keys.client_secret, json.dumps(answer).encode())
