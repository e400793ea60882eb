"""The ``bloq`` connection itself lies in Vault and is served by Airflow's own secrets backend."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.local import IssuedKeys
from airflow_provider_bloq.testing.stack import LocalStack

EXAMPLES = Path(__file__).parents[2] / "example_dags"


def store_connection(stack: LocalStack, keys: IssuedKeys) -> None:
    connection = {
        "conn_type": "bloq",
        "host": stack.bloq.accounts_url,
        "login": keys.client_id,
        "password": keys.client_secret,
        "extra": json.dumps({"environment": "local", "nodes_url": stack.bloq.nodes_url}),
    }
    stack.vault.put("connections/bloq_default", connection)


@pytest.mark.slow
@pytest.mark.anvil
def test_keys_are_rotated_in_the_connection_while_a_task_runs(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "bloq_quickstart.py", tmp_path)
    with LocalStack() as stack:
        store_connection(stack, stack.keys)
        backend = {
            "connections_path": "connections",
            "mount_point": "secret",
            "url": stack.vault.url,
            "auth_type": "token",
            "token": stack.vault.token("default", "backend", default_policy=False),
            "kv_engine_version": 2,
        }
        stack.vault.write_policy("backend", 'path "secret/data/connections/*" { capabilities = ["read"] }')
        settings = {
            "AIRFLOW__SECRETS__BACKEND": "airflow.providers.hashicorp.secrets.vault.VaultBackend",
            "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(backend),
        }
        with LocalAirflow(tmp_path, environment=settings) as airflow:
            run = airflow.trigger("bloq_quickstart", {"calls": 30, "pause": 0.2})
            until(lambda: sum(map(len, stack.bloq.counters().rpc_calls.values())) > 0, airflow)
            mints, old = stack.bloq.counters().mints, stack.keys
            stack.renew_keys()
            store_connection(stack, stack.keys)
            stack.bloq.delete_client_keys(old.client_id)
            stack.bloq.revoke_access_tokens(old.client_id)
            assert airflow.wait("bloq_quickstart", run) == "success"
            assert {task["try_number"] for task in airflow.tasks("bloq_quickstart", run)} == {1}
        assert stack.bloq.counters().mints > mints
        assert stack.bloq.counters().mints_refused >= 1
        assert stack.key_reads() == 0


def until(condition: object, airflow: LocalAirflow) -> None:
    pause = threading.Event()
    for _ in range(600):
        if callable(condition) and condition():
            return
        pause.wait(0.1)
    raise AssertionError(f"it did not happen within a minute:\n{airflow.log_tail()}")
