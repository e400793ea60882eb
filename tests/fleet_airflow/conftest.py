"""A real Airflow of each kind, whose tasks call one local Bloq service with client keys from a real Vault."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.testing.airflow import AirflowProcesses, LocalAirflow
from airflow_provider_bloq.testing.errors import TestingSetupError
from airflow_provider_bloq.testing.stack import KEYS_PATH, LocalStack, member_policy
from tests.support.celery_airflow import LocalCeleryAirflow
from tests.support.postgres import postgres_programs
from tests.support.redis_server import redis_programs

DAGS = Path(__file__).parent / "dags"
#: Tasks at once: more than there are processors, so that they do come at the same time.
AT_ONCE = max(4, 2 * (os.cpu_count() or 1))


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    with LocalStack() as running:
        yield running


@pytest.fixture(scope="session")
def servers() -> None:
    """What Celery needs; whatever takes it is skipped where it cannot be had."""
    try:
        postgres_programs()
        redis_programs()
    except TestingSetupError as error:
        pytest.skip(f"NO POSTGRESQL OR NO REDIS, nothing of Celery is tested: {error}")


@pytest.fixture(scope="module", params=["local", "celery"])
def airflow(request: pytest.FixtureRequest, stack: LocalStack) -> Iterator[AirflowProcesses]:
    """An Airflow with two connections: ``bloq_alone`` and, with a shared path of its own, ``bloq_sharing``."""
    if request.param == "celery":
        request.getfixturevalue("servers")
    with airflow_with(request.param) as running:
        for conn_id, fields in connections(stack, shared_path=f"fleet-{request.param}").items():
            running.add_connection(conn_id, fields)
        yield running


def airflow_with(executor: str) -> AirflowProcesses:
    if executor == "celery":
        return LocalCeleryAirflow(DAGS, workers=2, concurrency=AT_ONCE // 2)
    return LocalAirflow(DAGS, environment={"AIRFLOW__CORE__PARALLELISM": str(AT_ONCE)})


def connections(stack: LocalStack, shared_path: str) -> dict[str, dict[str, Any]]:
    """Give a connection without sharing and one of a member, each with a Vault role of its own."""
    alone, vault = stack.connections()["bloq_default"], stack.connections()["vault_bloq"]
    stack.vault.write_policy(shared_path, member_policy(shared_path, KEYS_PATH))
    role = stack.vault.approle(shared_path, [shared_path])
    sharing = {
        "vault_conn_id": "vault_member",
        "sharing": "vault",
        "shared_vault_path": shared_path,
        # So long may the lease last, too: on a busy machine nobody is superseded for being slow.
        "timeout": 300,
    }
    return {
        "vault_bloq": vault,
        "vault_member": {**vault, "login": role.role_id, "password": role.secret_id},
        "bloq_alone": alone,
        "bloq_sharing": {**alone, "extra": {**alone["extra"], **sharing}},
    }
