"""No secret is in a log, in XCom, in a rendered field or anywhere in the metadata database."""

from __future__ import annotations

import json
import re

import pytest
import requests

from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.stack import KEYS_PATH, LocalStack
from tests.airflow.conftest import LINEAGE_EVENTS
from tests.airflow.leaks import credentials, leaks, unrevealed, written_by


@pytest.fixture(scope="module")
def ended(airflow: LocalAirflow) -> dict[str, str]:
    """Run all the DAGs at once; gives the state that each ended in."""
    runs = {
        "bloq_quickstart": airflow.trigger("bloq_quickstart", {"calls": 10, "pause": 0.5}),
        "canaries": airflow.trigger("canaries"),
        "failing_canaries": airflow.trigger("failing_canaries"),
    }
    return {dag_id: airflow.wait(dag_id, run_id) for dag_id, run_id in runs.items()}


@pytest.fixture(scope="module")
def written(ended: dict[str, str], airflow: LocalAirflow) -> dict[str, bytes]:
    return unrevealed(written_by(airflow))


@pytest.fixture(scope="module")
def logs(written: dict[str, bytes]) -> bytes:
    return b"\n".join(text for name, text in written.items() if name.startswith("logs/"))


@pytest.mark.anvil
def test_the_dags_ran_as_they_were_meant_to(
    ended: dict[str, str], short_lived: LocalStack, logs: bytes
) -> None:
    assert ended == {
        "bloq_quickstart": "success",
        "canaries": "success",
        "failing_canaries": "failed",
    }
    assert short_lived.bloq.counters().refreshes > 0
    assert b"BloqNotFound" in logs
    assert b"BloqClientKeysRejected" in logs
    # The HTTP libraries told what they were doing.
    assert b"POST /auth/token" in logs


@pytest.mark.anvil
def test_no_secret_is_left_behind(
    written: dict[str, bytes], short_lived: LocalStack, refused_secret: str
) -> None:
    secrets = {
        "the client secret": short_lived.keys.client_secret,
        "the refused client secret": refused_secret,
        "the secret id of the Vault role": short_lived.connections()["vault_bloq"]["password"],
        **node_credentials(short_lived),
    }
    assert leaks(secrets, written) == []


@pytest.mark.anvil
def test_the_search_covers_all_that_airflow_wrote(written: dict[str, bytes], airflow: LocalAirflow) -> None:
    xcoms = written["table xcom"]
    assert b"tls_fingerprint" in xcoms
    assert b"eth_getBalance" in written["table rendered_task_instance_fields"]
    assert b"bloq_refused" in written["table connection"]
    assert b"tls_fingerprint" in b"".join(
        text for name, text in written.items() if name.startswith("airflow.db")
    )
    # The first line is still there, so that the output is whole.
    assert b"Apps: core" in written["output"][:4000]


@pytest.mark.anvil
def test_openlineage_is_told_which_node_was_called(written: dict[str, bytes]) -> None:
    events = [json.loads(line) for line in written[LINEAGE_EVENTS].splitlines()]
    told = next(
        event
        for event in events
        if (event["job"]["name"], event["eventType"]) == ("bloq_quickstart.read_balances", "COMPLETE")
    )
    assert {dataset["namespace"] for dataset in told["inputs"]} == {"bloq://nodes"}
    assert told["run"]["facets"]["bloq"]["operations"] == ["eth_chainId", "eth_getBalance"]


@pytest.mark.anvil
def test_what_a_task_says_of_a_secret_is_masked(logs: bytes) -> None:
    # Airflow leaves a JWT its first three letters, which all JWTs share.
    assert re.findall(rb'"event":"access-token (?:eyJ)?([^"]*)', logs) == [b"***"]
    assert set(re.findall(rb'"event":"node-password ([^"]*)', logs)) == {b"***"}
    assert re.findall(rb"'Authorization': 'Bearer (?:eyJ)?([^']*)'", logs) == [b"***"]


@pytest.mark.anvil
def test_what_is_no_secret_can_still_be_read(logs: bytes, short_lived: LocalStack) -> None:
    for name, value in short_lived.connections()["bloq_default"]["extra"].items():
        assert f"extra {name} {value}".encode() in logs
    assert KEYS_PATH.encode() in logs


def node_credentials(stack: LocalStack) -> dict[str, str]:
    """Ask Bloq itself for users and passwords of the nodes that the canaries, and others, made."""
    keys = {"clientId": stack.keys.client_id, "clientSecret": stack.keys.client_secret}
    token = requests.post(
        f"{stack.bloq.accounts_url}/auth/token", json={"grantType": "clientCredentials", **keys}, timeout=10
    ).json()["accessToken"]
    nodes = requests.get(
        f"{stack.bloq.nodes_url}/users/me/nodes", headers={"Authorization": f"Bearer {token}"}, timeout=10
    ).json()
    found = [node for node in nodes if node["auth"]["type"] == "basic"]
    assert found
    return {
        name: secret
        for node in found
        for name, secret in credentials(node["id"], node["auth"]["user"], node["auth"]["pass"]).items()
    }
