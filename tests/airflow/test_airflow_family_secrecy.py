"""No secret of the whole family is in what Airflow writes, neither while tasks wait nor afterwards."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.clients.models import Machine
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from airflow_provider_bloq.testing.stack import LocalStack
from tests.airflow.leaks import credentials, leaks, made_by_bloq, unrevealed, written_by
from tests.support.real_fleet import RealFleet

pytestmark = pytest.mark.anvil

#: Seconds that anything may take on a slow machine.
PATIENCE = 240.0
#: The tasks that wait, by their DAG, and the state that Airflow gives them meanwhile.
WAITING = {
    "waiting_canaries": {
        "update_cluster": "deferred",
        "cluster_updated": "deferred",
        "node_stopped": "deferred",
        "node_looked_at": "up_for_reschedule",
        "block": "deferred",
        "block_looked_at": "up_for_reschedule",
        "transaction": "deferred",
        "create": "deferred",
    },
    # The one that is late must be so before nodes start.
    "failing_family": {"wrong_state": "deferred", "killed": "deferred", "late": "failed"},
}
#: How the tasks end that are meant to fail, and the error that each names in its log.
ERRORS = {
    "rpc_error": "BloqRpcError",
    "many_errors": "BloqCallsFailed",
    "refused": "BloqClientKeysRejected",
    "nothing_shared": "BloqConfigurationError",
    "wrong_state": "BloqNotStarted",
    "dropped": "BloqTransactionDropped",
    "late": "BloqNotStarted",
}


@dataclass(frozen=True)
class Family:
    """What has become of the DAGs.

    :param failed: The tasks that have failed, by DAG.
    :param waited: What was written while tasks waited.
    :param ended: What was written when all had ended.
    :param secrets: What must not be in either.
    """

    failed: dict[str, set[str]]
    waited: dict[str, bytes]
    ended: dict[str, bytes]
    secrets: dict[str, str]

    def logs_of(self, dag_id: str, task_id: str) -> bytes:
        """Return the logs of a task."""
        parts = f"dag_id={dag_id}/", f"/task_id={task_id}/"
        return b"\n".join(text for name, text in self.ended.items() if all(part in name for part in parts))


@pytest.fixture(scope="module")
def fleet(short_lived: LocalStack) -> Iterator[RealFleet]:
    """A fleet that shares its token by the Vault of the stack, at a service whose nodes never start."""
    with LocalBloq(LocalBloqOptions(upstreams={}, provision_seconds=1e6)) as endless:
        yield RealFleet(endless, short_lived.vault, "canaries")


@pytest.fixture(scope="module")
def hook(short_lived: LocalStack, fleet: RealFleet) -> Iterator[BloqHook]:
    """A hook of this process for the account that the standalone Airflow uses; it can have one of the fleet's, too."""
    shared_providers.forget()
    with pytest.MonkeyPatch.context() as patched:
        for conn_id, fields in {**short_lived.connections(), **fleet_connections(fleet)}.items():
            patched.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        yield BloqHook()
    shared_providers.forget()


@pytest.fixture(scope="module")
def family(
    airflow: LocalAirflow, short_lived: LocalStack, fleet: RealFleet, hook: BloqHook, refused_secret: str
) -> Family:
    """Run all the DAGs at once, and look at what is written while all wait that can."""
    for conn_id, fields in fleet_connections(fleet).items():
        airflow.add_connection(conn_id, fields)
    bloq = short_lived.bloq
    node = hook.nodes.create(bloq.service_id("eth"), "basic")
    doomed = hook.nodes.create(bloq.service_id("btc"), "basic")
    # Clusters of a chain that nothing has to be started for.
    services = [offer.id for offer in hook.clusters.services() if offer.chain == "avalanche"]
    cluster = hook.clusters.create(str(services[0]), "basic")
    shown = {**node.public(), "tls_fingerprint": bloq.node_fingerprint(node.id)}
    rpc = hook.rpc(shown)
    rich = rpc.call("eth_accounts")[0]
    sent = rpc.call("eth_sendTransaction", [{"from": rich, "to": rich, "value": "0x1"}])
    conf = {
        "node": shown,
        "doomed": doomed.id,
        "cluster": cluster.id,
        "height": int(rpc.call("eth_blockNumber"), 16) + 1,
        "tx_hash": sent,
        "next_service": services[1],
        "node_service": bloq.service_id("btc"),
        "cluster_service": services[0],
        "endless_service": fleet.bloq.service_id("btc"),
        "folder": f"file://{airflow.home}/results",
    }
    dags = (*WAITING, "family_canaries")
    runs = {dag_id: airflow.trigger(dag_id, conf) for dag_id in dags}

    all_have_waited(airflow, runs)
    waited = written_by(airflow)
    airflow.call(
        "PATCH",
        f"dags/failing_family/dagRuns/{runs['failing_family']}/taskInstances/killed",
        json={"new_state": "failed"},
    )
    until(lambda: deletes(fleet.bloq) > 0, lambda: "what was killed is not deleted")
    fleet.bloq.finish_provisioning()
    rpc.call("anvil_mine", ["0x1"])
    bloq.finish_updates(cluster.id)
    hook.nodes.delete(doomed.id)
    for dag_id, run_id in runs.items():
        airflow.wait(dag_id, run_id, PATIENCE)
    failed = {
        dag_id: {task["task_id"] for task in airflow.tasks(dag_id, run_id) if task["state"] != "success"}
        for dag_id, run_id in runs.items()
    }
    ended = written_by(airflow)

    secrets = {
        "the client secret": short_lived.keys.client_secret,
        "the client secret of the fleet": fleet.keys.client_secret,
        "the refused client secret": refused_secret,
        "the secret id of the Vault role": short_lived.connections()["vault_bloq"]["password"],
    }
    for conn_id, fields in fleet.connections().items():
        if fields["conn_type"] == "vault":
            secrets[f"the secret id of {conn_id}"] = fields["password"]
    for machine in (*hook.nodes.list(), *hook.clusters.list(), *BloqHook("canary_member").nodes.list()):
        secrets |= credentials_of(machine)
    hook.nodes.delete(node.id)
    hook.clusters.delete(cluster.id)
    return Family(failed, unrevealed(waited), unrevealed(ended), secrets)


def fleet_connections(fleet: RealFleet) -> dict[str, dict[str, Any]]:
    """Give the connections of the fleet, of which the DAGs know the member and the reader by other names."""
    named = {"bloq_member": "canary_member", "bloq_reader": "canary_reader"}
    return {named.get(conn_id, conn_id): fields for conn_id, fields in fleet.connections().items()}


def all_have_waited(airflow: LocalAirflow, runs: dict[str, str]) -> None:
    """Wait until each task has been seen to wait that is to; what is deferred stays so, the others look again."""
    missing = {
        (dag_id, task_id, state) for dag_id, tasks in WAITING.items() for task_id, state in tasks.items()
    }

    def is_empty() -> bool:
        for dag_id in WAITING:
            states = {
                (dag_id, task["task_id"], task["state"]) for task in airflow.tasks(dag_id, runs[dag_id])
            }
            missing.difference_update(states)
        return not missing

    until(is_empty, lambda: f"not seen: {sorted(missing)}")


def deletes(service: LocalBloq) -> int:
    """Count how often nodes were deleted."""
    calls = service.counters().calls
    return sum(number for call, number in calls.items() if call.startswith("nodes DELETE /users/me/nodes/"))


def credentials_of(machine: Machine) -> dict[str, str]:
    """Name what opens a node or cluster; nothing, if it has no password of its own."""
    auth = machine.auth
    if auth is None or auth.user is None or auth.password is None:
        return {}
    return credentials(machine.id, auth.user.reveal(), auth.password.reveal())


def until(condition: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, otherwise()
        pause.wait(0.25)


def test_the_family_did_what_it_was_meant_to(family: Family) -> None:
    assert family.failed == {
        "family_canaries": set(),
        "waiting_canaries": set(),
        "failing_family": {*ERRORS, "killed"},
    }, b"".join(t for n, t in family.ended.items() if n.startswith("logs/dag_id=waiting_canaries") and b"error" in t).decode()
    named = {"bloq_member": "canary_member", "bloq_reader": "canary_reader"}
    return {named.get(conn_id, conn_id): fields for conn_id, fields in fleet.connections().items()}


def all_have_waited(airflow: LocalAirflow, runs: dict[str, str]) -> None:
    """Wait until each task has been seen to wait that is to; what is deferred stays so, the others look again."""
    missing = {
        (dag_id, task_id, state) for dag_id, tasks in WAITING.items() for task_id, state in tasks.items()
    }

    def is_empty() -> bool:
        for dag_id in WAITING:
            states = {
                (dag_id, task["task_id"], task["state"]) for task in airflow.tasks(dag_id, runs[dag_id])
            }
            missing.difference_update(states)
        return not missing

    until(is_empty, lambda: f"not seen: {sorted(missing)}")


def deletes(service: LocalBloq) -> int:
    """Count how often nodes were deleted."""
    calls = service.counters().calls
    return sum(number for call, number in calls.items() if call.startswith("nodes DELETE /users/me/nodes/"))


def credentials_of(machine: Machine) -> dict[str, str]:
    """Name what opens a node or cluster; nothing, if it has no password of its own."""
    auth = machine.auth
    if auth is None or auth.user is None or auth.password is None:
        return {}
    return credentials(machine.id, auth.user.reveal(), auth.password.reveal())


def until(condition: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, otherwise()
        pause.wait(0.25)


def test_the_family_did_what_it_was_meant_to(family: Family) -> None:
    assert family.states == {
        "family_canaries": "success",
        "waiting_canaries": "success",
        "failing_family": "failed",
    }
    named = {
        task_id: error.encode() in family.logs_of("failing_family", task_id)
        for task_id, error in ERRORS.items()
    }
    assert named == dict.fromkeys(ERRORS, True)


def test_no_secret_is_written_while_tasks_wait(family: Family) -> None:
    assert leaks(family.secrets, family.waited) == []


def test_no_secret_is_left_when_all_have_ended(family: Family) -> None:
    assert leaks(family.secrets, family.ended) == []


def test_the_search_covers_where_the_family_writes(family: Family, fleet: RealFleet) -> None:
    for trigger in ("BloqWaitTrigger", "BloqNodeStartTrigger", "BloqClusterUpdateTrigger"):
        assert trigger.encode() in family.waited["table trigger"]
    # What the triggers were to hand on, and what the worker remembers from one look to the next.
    assert b"execute_complete" in family.waited["table task_instance"]
    assert b"block_looked_at" in family.waited["table task_state_store"]
    assert b"killed" in family.ended["table log"]
    assert b"eth_noSuchMethod" in family.ended["table rendered_task_instance_fields"]
    assert b"bloq_created" in family.ended["table xcom"]
    files = b"".join(text for name, text in family.ended.items() if name.startswith("results/"))
    assert b"0x7a69" in files
    assert b"eth_noSuchMethod" in files
    assert any("trigger" in name for name in family.ended if name.startswith("logs/"))
    shared = fleet.stored()
    assert shared is not None
    assert made_by_bloq(shared.secret.reveal().encode())


def test_what_tasks_say_of_a_secret_is_masked(family: Family) -> None:
    said = {
        (task_id, word): re.findall(
            rb'"event":"%s (?:eyJ)?([^"]*)' % word.encode(), family.logs_of("family_canaries", task_id)
        )
        for task_id, word in (
            ("talk", "node-password"),
            ("talk_async", "node-password"),
            ("talk_async", "async-token"),
            ("read_shared", "shared-token"),
        )
    }
    assert said == {key: [b"***"] for key in said}
