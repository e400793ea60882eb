"""Rotations in a real Airflow whose task process is killed by SIGKILL, and their retries."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from airflow_provider_bloq.testing.openbao import LocalVault
from tests.accounts.team import Team

DAG = "mortal_rotation"
#: The tasks that come to their end.
POINTS = ("after_the_create", "after_the_write", "after_the_delete")
WAITS = "within_grace"
#: Seconds that anything may take on a slow machine.
PATIENCE = 600.0


@dataclass(frozen=True)
class Rotations:
    """One run of the DAG, each of whose tasks rotates the keys of a team of its own.

    :param teams: By task.
    :param foreign: By task, the client ID that a colleague of that team has made before.
    :param folder: Where the obituaries are.
    """

    airflow: LocalAirflow
    run_id: str
    teams: dict[str, Team]
    foreign: dict[str, str]
    folder: Path

    def task(self, name: str) -> dict[str, Any]:
        """Return how a task stands."""
        (found,) = (task for task in self.airflow.tasks(DAG, self.run_id) if task["task_id"] == name)
        return found

    def await_state(self, name: str, state: str) -> None:
        """Wait until a task is in a state, and see that it was killed before."""
        deadline = time.monotonic() + PATIENCE
        pause = threading.Event()
        while (current := self.task(name)["state"]) != state:
            assert current not in {"success", "failed"}, f"{name} has ended: {current}"
            assert time.monotonic() < deadline, f"{name} is still {current}"
            pause.wait(0.25)
        assert (self.folder / name).exists(), "it was not killed"


@pytest.fixture(scope="module")
def rotations(airflow: LocalAirflow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rotations]:
    """Start all of them at once; at the end, give up those that wait."""
    folder = tmp_path_factory.mktemp("obituaries")
    options = LocalBloqOptions(upstreams={}, node_quota=None, key_deletion_kills_access=True)
    with ExitStack() as opened:
        bloq = opened.enter_context(LocalBloq(options))
        vault = opened.enter_context(LocalVault())
        teams = {name: Team(bloq, vault) for name in (*POINTS, WAITS)}
        foreign = {name: team.colleague_creates().client_id for name, team in teams.items()}
        for team in teams.values():
            opened.callback(team.close)
            for conn_id, fields in connections(team).items():
                airflow.add_connection(conn_id, fields)
        conf = {
            name: {
                "bloq": f"{team.desk.prefix}_bloq",
                "account": f"{team.desk.prefix}_account",
                "account_path": team.desk.account_path,
                "obituary": str(folder / name),
            }
            for name, team in teams.items()
        }
        run_id = airflow.trigger(DAG, conf)
        yield Rotations(airflow, run_id, teams, foreign, folder)
        airflow.call("PATCH", f"dags/{DAG}/dagRuns/{run_id}", json={"state": "failed"})


def connections(team: Team) -> dict[str, dict[str, Any]]:
    rotated = {
        "conn_type": "bloq",
        "host": team.bloq.accounts_url,
        "extra": {
            "environment": "local",
            "nodes_url": team.bloq.nodes_url,
            "vault_conn_id": f"{team.desk.prefix}_worker",
            "vault_path": team.desk.path,
            # What comes of a create without an answer is waited for twice this long.
            "timeout": 10,
        },
    }
    return {**team.connections(), f"{team.desk.prefix}_bloq": rotated}


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_rotation_that_is_killed_comes_to_its_end_with_one_living_pair(
    rotations: Rotations, point: str
) -> None:
    rotations.await_state(point, "success")
    team = rotations.teams[point]
    team.check(foreign={rotations.foreign[point]})
    assert team.stored_keys().client_id != team.keys.client_id


@pytest.mark.slow
def test_a_rotation_that_is_killed_waits_in_its_retry_while_both_pairs_live(rotations: Rotations) -> None:
    rotations.await_state(WAITS, "deferred")
    team = rotations.teams[WAITS]
    team.check(foreign={rotations.foreign[WAITS]}, old={team.keys.client_id})
    assert team.stored_keys().client_id != team.keys.client_id
