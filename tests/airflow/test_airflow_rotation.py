"""A rotation as a task of a real Airflow: its journal, its deferral, its retry, and what it writes down."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq, LocalBloqOptions
from airflow_provider_bloq.testing.openbao import LocalVault
from tests.accounts.team import Team, teams
from tests.airflow.leaks import found

RunDag = Callable[..., Any]


@pytest.fixture(scope="module")
def bloq() -> Iterator[LocalBloq]:
    options = LocalBloqOptions(upstreams={}, node_quota=None, key_deletion_kills_access=True)
    with LocalBloq(options) as running:
        yield running


@pytest.fixture(scope="module")
def vault() -> Iterator[LocalVault]:
    with LocalVault() as running:
        yield running


@pytest.fixture
def team(bloq: LocalBloq, vault: LocalVault, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    """A team whose keys ``bloq_rotated`` reads from Vault."""
    making = teams(bloq, vault, monkeypatch)
    made = next(making)()
    connection = {
        "conn_type": "bloq",
        "host": bloq.accounts_url,
        "extra": {
            "environment": "local",
            "nodes_url": bloq.nodes_url,
            "vault_conn_id": f"{made.desk.prefix}_worker",
            "vault_path": made.desk.path,
        },
    }
    monkeypatch.setenv("AIRFLOW_CONN_BLOQ_ROTATED", json.dumps(connection))
    yield made
    next(making, None)
    bloq.clear_faults()


def rotation_of(team: Team) -> Any:
    from airflow.sdk import DAG

    from airflow_provider_bloq.operators.client_keys import BloqRotateClientKeysOperator

    with DAG(f"rotation_of_{team.desk.prefix}", schedule=None) as dag:
        BloqRotateClientKeysOperator(
            task_id="rotate",
            bloq_conn_id="bloq_rotated",
            account_vault_conn_id=f"{team.desk.prefix}_account",
            account_vault_path=team.desk.account_path,
            grace=timedelta(seconds=2),
            deferrable=True,
            retries=2,
            retry_delay=timedelta(0),
            # Its delays are for services, not for tests.
            retry_policy=None,
        )
    return dag


def test_a_rotation_that_fails_in_the_middle_is_retried_and_waits_in_a_trigger(
    team: Team, run_dag: RunDag
) -> None:
    # Not a status that the client itself repeats.
    faults = [
        team.bloq.add_fault(
            Fault(kind=FaultKind.STATUS, status=500, service="accounts", method=method, path=path)
        )
        for method, path in (("GET", "/users/me/client-keys"), ("DELETE", "/users/me/client-keys/*"))
    ]
    foreign = team.colleague_creates()

    run = run_dag(rotation_of(team))

    (task,) = run.get_task_instances()
    assert (task.state, task.try_number) == ("success", 3)
    assert [team.bloq.faults_struck()[fault] for fault in faults] == [1, 1]
    result = task.xcom_pull(task_ids="rotate")
    assert (result["old_client_id"], result["kv_version"]) == (team.keys.client_id, 2)
    team.check(foreign={foreign.client_id})

    with closing(
        sqlite3.connect(f"file:{os.environ['AIRFLOW_HOME']}/airflow.db?mode=ro", uri=True)
    ) as opened:
        database = "\n".join(opened.iterdump()).encode()
    assert found(result["new_client_id"], database)
    secrets = (team.password, team.keys.client_secret, team.stored_keys().client_secret.reveal())
    assert not [secret for secret in secrets if found(secret, database)]
