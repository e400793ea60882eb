"""Creates in a real Airflow: task processes are killed, tasks are cleared and marked as failed."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from airflow_provider_bloq.auth.credentials import ClientKeys, Secret
from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from tests.clients.both_ways import BothWays, opened_clients

#: Seconds that anything may take on a slow machine.
PATIENCE = 240.0
#: The tasks of ``mortal_creates``, by where their first try dies.
POINTS = (
    "before_the_request",
    "after_the_request",
    "before_the_state_is_saved",
    "while_waiting",
    "after_success",
    "after_the_event",
)


@dataclass(frozen=True)
class Service:
    """A local Bloq service that Airflow has a connection to."""

    bloq: LocalBloq
    clients: BothWays

    def services(self) -> list[str]:
        """Return the ids of all that nodes can be made of."""
        return [str(offer.id) for offer in self.clients.nodes.services()]

    def nodes(self, service_id: str | None = None) -> dict[str, str]:
        """Return the states of all nodes of a service, or of all nodes, by their ids."""
        return {
            node.id: node.state for node in self.clients.nodes.list() if service_id in (None, node.service)
        }

    def lists(self) -> int:
        """Count how often the nodes were listed."""
        return self.bloq.counters().calls.get("nodes GET /users/me/nodes", 0)


@contextmanager
def connected(airflow: LocalAirflow, conn_id: str, options: LocalBloqOptions) -> Iterator[Service]:
    """Start a service, and give Airflow a connection to an account at it."""
    with LocalBloq(options) as bloq:
        account = bloq.create_account(f"{uuid.uuid4()}@example.com", "a fine password")
        keys = bloq.create_client_keys(account.id)
        airflow.add_connection(
            conn_id,
            {
                "conn_type": "bloq",
                "host": bloq.accounts_url,
                "login": keys.client_id,
                "password": keys.client_secret,
                # What comes of a request is waited for twice this long.
                "extra": {"environment": "local", "nodes_url": bloq.nodes_url, "timeout": 10},
            },
        )
        inline = ClientKeys(keys.client_id, Secret(keys.client_secret))
        with opened_clients("blocking", bloq.accounts_url, bloq.nodes_url, inline) as clients:
            yield Service(bloq, clients)


@pytest.fixture(scope="module")
def brisk(airflow: LocalAirflow) -> Iterator[Service]:
    """A service whose nodes start by themselves, but not at once."""
    options = LocalBloqOptions(upstreams={}, provision_seconds=1.0, node_quota=None)
    with connected(airflow, "bloq_brisk", options) as service:
        yield service


@pytest.fixture(scope="module")
def endless(airflow: LocalAirflow) -> Iterator[Service]:
    """A service whose nodes never start."""
    options = LocalBloqOptions(upstreams={}, provision_seconds=1e6, node_quota=None)
    with connected(airflow, "bloq_endless", options) as service:
        yield service


@dataclass(frozen=True)
class Ended:
    """The runs, when they have ended.

    :param run_ids: By DAG.
    :param states: By DAG.
    """

    run_ids: dict[str, str]
    states: dict[str, str]


@pytest.fixture(scope="module")
def ended(airflow: LocalAirflow, brisk: Service) -> Ended:
    """Run all the DAGs whose tasks die, at once."""
    airflow.call("POST", "pools", json={"name": "bloq_one_slot", "slots": 1})
    services = brisk.services()
    confs = {
        "mortal_creates": {"services": services[: len(POINTS)]},
        "mapped_creates": {"services": services[len(POINTS) :]},
    }
    runs = {dag_id: airflow.trigger(dag_id, conf) for dag_id, conf in confs.items()}
    return Ended(runs, {dag_id: airflow.wait(dag_id, run_id, PATIENCE) for dag_id, run_id in runs.items()})


def created(airflow: LocalAirflow, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str | None:
    """Return the id of the node that a task has returned; None where it has returned nothing."""
    found = airflow.call(
        "GET",
        f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries",
        params={"map_index": map_index, "xcom_key": "return_value"},
    )["xcom_entries"]
    if not found:
        return None
    entry = airflow.call(
        "GET",
        f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value",
        params={"map_index": map_index, "deserialize": True},
    )
    return str(entry["value"]["id"])


def claimed(airflow: LocalAirflow, dag_id: str, run_id: str, task_id: str) -> str:
    """Return the id that a task has let know as soon as it knew."""
    path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/bloq_created"
    return str(airflow.call("GET", path, params={"deserialize": True})["value"])


def tries(airflow: LocalAirflow, dag_id: str, run_id: str) -> Counter[tuple[str, int]]:
    return Counter(
        {(task["task_id"], task["map_index"]): task["try_number"] for task in airflow.tasks(dag_id, run_id)}
    )


def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it has not come about"
        pause.wait(0.2)


@pytest.mark.parametrize("point", POINTS)
def test_a_task_that_is_killed_leaves_exactly_one_node_after_its_retry(
    airflow: LocalAirflow, brisk: Service, ended: Ended, point: str
) -> None:
    run_id = ended.run_ids["mortal_creates"]
    assert ended.states["mortal_creates"] == "success"
    assert tries(airflow, "mortal_creates", run_id)[point, -1] == 2, "it was not killed"
    node_id = created(airflow, "mortal_creates", run_id, point)
    assert brisk.nodes(brisk.services()[POINTS.index(point)]) == {node_id: "started"}


def test_in_a_pool_of_one_slot_each_of_five_tasks_owns_a_node_of_its_own(
    airflow: LocalAirflow, brisk: Service, ended: Ended
) -> None:
    run_id = ended.run_ids["mapped_creates"]
    owned = [created(airflow, "mapped_creates", run_id, "one_at_a_time", index) for index in range(5)]
    assert tries(airflow, "mapped_creates", run_id)["one_at_a_time", 2] == 2, "it was not killed"
    assert None not in owned
    assert set(owned) == set(brisk.nodes(brisk.services()[len(POINTS)]))
    assert len(set(owned)) == 5


def test_without_a_pool_the_one_that_was_killed_fails_and_none_is_owned_twice(
    airflow: LocalAirflow, brisk: Service, ended: Ended
) -> None:
    run_id = ended.run_ids["mapped_creates"]
    owned = [created(airflow, "mapped_creates", run_id, "all_at_once", index) for index in range(5)]
    there = brisk.nodes(brisk.services()[len(POINTS) + 1])
    assert owned.pop(2) is None
    assert ended.states["mapped_creates"] == "failed"
    assert tries(airflow, "mapped_creates", run_id)["all_at_once", 2] == 2, "it was tried in vain again"
    assert len(set(owned)) == 4
    assert set(owned) < set(there)
    assert len(there) == 5
    assert "stopped" not in there.values()
    (log,) = (airflow.logs / "dag_id=mapped_creates").glob("*/task_id=all_at_once/map_index=2/attempt=2.log")
    assert "BloqAmbiguousCreate" in log.read_text()


def test_only_a_clear_has_a_task_that_succeeded_create_again(
    airflow: LocalAirflow, brisk: Service, ended: Ended
) -> None:
    run_id = ended.run_ids["mortal_creates"]
    # Its retry after success has returned the same node; the clear is something else.
    service_id = brisk.services()[POINTS.index("after_success")]
    first = created(airflow, "mortal_creates", run_id, "after_success")
    assert set(brisk.nodes(service_id)) == {first}
    airflow.call(
        "POST",
        "dags/mortal_creates/clearTaskInstances",
        json={
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": ["after_success"],
            "only_failed": False,
        },
    )
    assert airflow.wait("mortal_creates", run_id, PATIENCE) == "success"
    second = created(airflow, "mortal_creates", run_id, "after_success")
    assert set(brisk.nodes(service_id)) == {first, second}
    assert first != second


@pytest.mark.slow
def test_a_task_that_is_marked_as_failed_ends_its_polls_and_deletes_only_if_told_to(
    airflow: LocalAirflow, endless: Service
) -> None:
    service_id = endless.services()[0]
    run_id = airflow.trigger("killed_creates", {"service": service_id})

    def nodes() -> dict[str, int]:
        """Count the nodes by their states."""
        return Counter(endless.nodes(service_id).values())

    def all_wait() -> bool:
        waiting = Counter(task["state"] for task in airflow.tasks("killed_creates", run_id))
        return waiting == {"deferred": 2, "running": 1} and nodes() == {"starting": 3}

    until(all_wait)
    before = endless.lists()
    until(lambda: endless.lists() > before + 5)
    for task in airflow.tasks("killed_creates", run_id):
        airflow.call(
            "PATCH",
            f"dags/killed_creates/dagRuns/{run_id}/taskInstances/{task['task_id']}",
            json={"new_state": "failed"},
        )
    until(lambda: nodes() == {"starting": 1, "stopped": 2})
    until(lambda: has_gone_quiet(endless))
    (left,) = (node_id for node_id, state in endless.nodes().items() if state == "starting")
    assert left == claimed(airflow, "killed_creates", run_id, "left_alone")


def has_gone_quiet(service: Service) -> bool:
    """Tell whether nothing was listed for many intervals of the polls."""
    before = service.lists()
    threading.Event().wait(2.0)
    return service.lists() == before
