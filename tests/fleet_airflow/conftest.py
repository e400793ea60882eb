"""A real Airflow of each kind, whose tasks call one local Bloq service with client keys from a real Vault."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.airflow_processes import AirflowProcesses
from airflow_provider_bloq.testing.celery_airflow import LocalCeleryAirflow
from airflow_provider_bloq.testing.stack import KEYS_PATH, LocalStack

DAGS = Path(__file__).parent / "dags"
#: Tasks at once: more than there are processors, so that they do come at the same time.
AT_ONCE = max(4, 2 * (os.cpu_count() or 1))


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    with LocalStack() as running:
        yield running


def made(executor: str) -> AirflowProcesses:
    if executor == "celery":
        return LocalCeleryAirflow(DAGS, start_timeout=600, workers=2, concurrency=AT_ONCE // 2)
    return LocalAirflow(DAGS, start_timeout=600, environment={"AIRFLOW__CORE__PARALLELISM": str(AT_ONCE)})


@pytest.fixture(scope="module", params=["local", "celery"])
def airflow(request: pytest.FixtureRequest, stack: LocalStack) -> Iterator[AirflowProcesses]:
    """An Airflow with two connections: ``bloq_alone`` and, with a shared path of its own, ``bloq_sharing``."""
    name = f"fleet_{request.param}"
    alone, vault = stack.connections()["bloq_default"], stack.connections()["vault_bloq"]
    stack.vault.write_policy(name, member_policy(name))
    role = stack.vault.approle(name, [name])
    member = {
        **alone["extra"],
        "vault_conn_id": "vault_member",
        "sharing": "vault",
        "shared_vault_path": name,
    }
    with made(request.param) as running:
        running.add_connection("vault_bloq", vault)
        running.add_connection("vault_member", {**vault, "login": role.role_id, "password": role.secret_id})
        running.add_connection("bloq_alone", alone)
        running.add_connection("bloq_sharing", {**alone, "extra": member})
        yield running


def member_policy(path: str) -> str:
    """Permit what a member needs: to read the client keys, and to keep the shared token and its lease."""
    shared = "".join(
        f'path "secret/data/{one}" {{ capabilities = ["create", "read", "update"] }}\n'
        f'path "secret/metadata/{one}" {{ capabilities = ["create", "update"] }}\n'
        for one in (path, f"{path}/lease")
    )
    return f'path "secret/data/{KEYS_PATH}" {{ capabilities = ["read"] }}\n{shared}'
