"""The ``bloq`` connection itself lies in Vault and is served by Airflow's own secrets backend."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.openbao import SeenRequest
from airflow_provider_bloq.testing.stack import LocalStack
from tests.airflow.leaks import leaks, written_by

EXAMPLES = Path(__file__).parents[2] / "example_dags"
FOLDER = "connections"
CONNECTION = f"{FOLDER}/bloq_default"
POLICY = f'path "secret/data/{FOLDER}/*" {{ capabilities = ["read"] }}'
#: Calls of the watching task, and seconds between two: long enough for a rotation in its midst.
CALLS, PAUSE = 60, 0.2


@pytest.fixture
def stack() -> Iterator[LocalStack]:
    with LocalStack() as running:
        store_connection(running)
        yield running


@pytest.fixture
def airflow(stack: LocalStack, tmp_path: Path) -> Iterator[LocalAirflow]:
    """A standalone Airflow that has no connection of its own and asks Vault for them."""
    shutil.copy(EXAMPLES / "bloq_quickstart.py", tmp_path)
    stack.vault.write_policy("backend", POLICY)
    role = stack.vault.approle("backend", ["backend"], token_type="batch")
    backend = {
        "url": stack.vault.url,
        "auth_type": "approle",
        "role_id": role.role_id,
        "secret_id": role.secret_id,
        "mount_point": "secret",
        "connections_path": FOLDER,
        "kv_engine_version": 2,
    }
    settings = {
        "AIRFLOW__SECRETS__BACKEND": "airflow.providers.hashicorp.secrets.vault.VaultBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(backend),
    }
    with LocalAirflow(tmp_path, environment=settings) as running:
        yield running


@pytest.mark.slow
@pytest.mark.anvil
def test_keys_are_rotated_in_the_connection_while_a_task_runs(
    stack: LocalStack, airflow: LocalAirflow
) -> None:
    old = stack.keys
    run = airflow.trigger("bloq_quickstart", {"calls": CALLS, "pause": PAUSE})
    until(lambda: heads_seen(stack) > 0, airflow)
    before, reads = stack.bloq.counters(), connection_reads(stack)

    stack.renew_keys()
    store_connection(stack)
    stack.bloq.delete_client_keys(old.client_id)
    stack.bloq.revoke_access_tokens(old.client_id)
    # The task that reads the balances mints as well, at a moment of its own: only a refusal of the old
    # keys shows that the rotation met one in its midst.
    until(lambda: stack.bloq.counters().mints_refused > before.mints_refused, airflow)
    refused_at = heads_seen(stack)
    until(lambda: heads_seen(stack) > refused_at, airflow)

    # The rotation met the task in its midst, and its next calls were made with the new keys.
    assert refused_at < CALLS
    assert stack.bloq.counters().mints > before.mints
    assert connection_reads(stack) > reads
    assert airflow.wait("bloq_quickstart", run) == "success"
    assert {task["try_number"] for task in airflow.tasks("bloq_quickstart", run)} == {1}
    assert heads_seen(stack) == CALLS
    # Nothing was taken from the other place where this Vault holds the keys.
    assert stack.key_reads() == 0
    secrets = {"the old client secret": old.client_secret, "the new one": stack.keys.client_secret}
    assert leaks(secrets, written_by(airflow)) == []


def store_connection(stack: LocalStack) -> None:
    """Put the connection with the keys of the moment into Vault."""
    connection = {
        "conn_type": "bloq",
        "host": stack.bloq.accounts_url,
        "login": stack.keys.client_id,
        "password": stack.keys.client_secret,
        "extra": json.dumps({"environment": "local", "nodes_url": stack.bloq.nodes_url}),
    }
    stack.vault.put(CONNECTION, connection)


def connection_reads(stack: LocalStack) -> int:
    return stack.vault.requests_seen().count(SeenRequest("read", f"secret/data/{CONNECTION}"))


def heads_seen(stack: LocalStack) -> int:
    """Count the looks at the head of the chain, which only the watching task takes."""
    return sum(methods.get("eth_blockNumber", 0) for methods in stack.bloq.counters().rpc_calls.values())


def until(condition: Callable[[], bool], airflow: LocalAirflow) -> None:
    pause = threading.Event()
    for _ in range(600):
        if condition():
            return
        pause.wait(0.1)
    raise AssertionError(f"it did not happen within a minute:\n{airflow.log_tail()}")
