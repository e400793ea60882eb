"""No secret of the whole family is in what Airflow writes, neither while tasks wait nor afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.nodes.models import Deployment
from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.anvil import Anvil
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from airflow_provider_bloq.testing.stack import LocalStack
from tests.airflow.awaiting import PATIENCE, until
from tests.airflow.leaks import credentials, leaks, made_by_bloq, unrevealed, written_by
from tests.support.real_fleet import RealFleet
from tests.support.shared_chain import SharedChain

pytestmark = [pytest.mark.anvil, pytest.mark.slow]

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
#: The tasks that are meant to fail, and the error that each names in its log.
ERRORS = {
    "rpc_error": "BloqRpcError",
    "many_errors": "BloqCallsFailed",
    "refused": "BloqClientKeysRejected",
    "nothing_shared": "BloqConfigurationFailure",
    "no_chain": "BloqUnavailable",
    "path_refused": "BloqAuthError",
    "wrong_state": "BloqNotStarted",
    "dropped": "BloqTransactionDropped",
    "late": "BloqNotStarted",
}
#: The DAG that blocks start.
EVENTS = "bloq_block_events"


@dataclass(frozen=True)
class Family:
    """What has become of the DAGs.

    :param failed: The tasks that have not succeeded, by DAG.
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
    """A fleet that shares its token by the Vault of the stack, at a service whose nodes never start.

    Of the chains of its Connect only those like Ethereum's are there.
    """
    with Anvil() as anvil:
        behind_connect = dict.fromkeys(("eth", "etc"), lambda: SharedChain(anvil))
        options = LocalBloqOptions(upstreams={}, connect_upstreams=behind_connect, provision_seconds=1e6)
        with LocalBloq(options) as endless:
            yield RealFleet(endless, short_lived.vault, "canaries")


@pytest.fixture(scope="module")
def path_keys(fleet: RealFleet, short_lived: LocalStack) -> dict[str, str]:
    """Connect's path keys: one lies in Vault, beside the client keys of the fleet; the others do not."""
    keys = {chain: fleet.bloq.create_connect_key(chain) for chain in ("eth", "etc")}
    client_keys = {"clientId": fleet.keys.client_id, "clientSecret": fleet.keys.client_secret}
    short_lived.vault.put(fleet.keys_path, {**client_keys, "connect_eth": keys["eth"]})
    return {**keys, "kotti": "unheard-of-path-key"}


@pytest.fixture(scope="module")
def fleet_connections(fleet: RealFleet, path_keys: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The connections of the fleet, of which the DAGs know the member and the reader by other names."""
    named = {"bloq_member": "canary_member", "bloq_reader": "canary_reader"}
    connections = {named.get(conn_id, conn_id): fields for conn_id, fields in fleet.connections().items()}
    connections["canary_member"]["extra"] |= {
        "connect_url": fleet.bloq.connect_url,
        "connect_api_keys": {chain: path_keys[chain] for chain in ("etc", "kotti")},
    }
    return connections


@pytest.fixture(scope="module")
def hook(short_lived: LocalStack, fleet_connections: dict[str, dict[str, Any]]) -> Iterator[BloqHook]:
    """A hook of this process for the account that the standalone Airflow uses; it knows the fleet's, too."""
    shared_providers.forget()
    with pytest.MonkeyPatch.context() as patched:
        for conn_id, fields in {**short_lived.connections(), **fleet_connections}.items():
            patched.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        yield BloqHook()
    shared_providers.forget()


@pytest.fixture(scope="module")
def secrets(
    short_lived: LocalStack,
    fleet: RealFleet,
    fleet_connections: dict[str, dict[str, Any]],
    path_keys: dict[str, str],
    refused_secret: str,
) -> dict[str, str]:
    """What must not be found, besides the passwords of nodes and clusters."""
    vaults = {**short_lived.connections(), **fleet_connections}
    return {
        "the client secret": short_lived.keys.client_secret,
        "the client secret of the fleet": fleet.keys.client_secret,
        "the refused client secret": refused_secret,
        **{f"the path key of {chain}": key for chain, key in path_keys.items()},
        **{
            f"the secret id of {conn_id}": fields["password"]
            for conn_id, fields in vaults.items()
            if fields["conn_type"] == "vault"
        },
    }


@pytest.fixture(scope="module")
def family(
    airflow: LocalAirflow,
    short_lived: LocalStack,
    fleet: RealFleet,
    fleet_connections: dict[str, dict[str, Any]],
    hook: BloqHook,
    watched_node: str,
    secrets: dict[str, str],
) -> Family:
    """Run all the DAGs at once, and look at what is written while all wait that can."""
    for conn_id, fields in fleet_connections.items():
        airflow.add_connection(conn_id, fields)
    airflow.call("PATCH", f"dags/{EVENTS}", json={"is_paused": False})
    bloq = short_lived.bloq
    node = hook.nodes.create(bloq.service_id("eth"), "basic")
    doomed = hook.nodes.create(bloq.service_id("btc"), "basic")
    # Clusters of a chain that nothing has to be started for.
    services = [offer.id for offer in hook.clusters.services() if offer.chain == "avalanche"]
    cluster = hook.clusters.create(str(services[0]), "basic")
    shown = {**node.public(), "tls_fingerprint": bloq.node_fingerprint(node.id)}
    rpc = hook.rpc(shown)
    watched = hook.rpc(watched_node, tls_fingerprint=bloq.node_fingerprint(watched_node))
    rich = rpc.call("eth_accounts")[0]
    conf = {
        "node": shown,
        "doomed": doomed.id,
        "cluster": cluster.id,
        "height": int(rpc.call("eth_blockNumber"), 16) + 2,
        "tx_hash": rpc.call("eth_sendTransaction", [{"from": rich, "to": rich, "value": "0x1"}]),
        "next_service": services[1],
        "node_service": bloq.service_id("btc"),
        "cluster_service": services[0],
        "endless_service": fleet.bloq.service_id("btc"),
        "folder": f"file://{airflow.home}/results",
    }
    runs = {dag_id: airflow.trigger(dag_id, conf) for dag_id in (*WAITING, "family_canaries")}

    all_have_waited(airflow, runs)
    waited = written_by(airflow)
    killed = f"dags/failing_family/dagRuns/{runs['failing_family']}/taskInstances/killed"
    airflow.call("PATCH", killed, json={"new_state": "failed"})
    until(lambda: deletes(fleet.bloq) > 0, lambda: "what was killed is not deleted")
    fleet.bloq.finish_provisioning()
    bloq.finish_updates(cluster.id)
    hook.nodes.delete(doomed.id)

    def a_block_has_started_a_run() -> bool:
        for chain in (rpc, watched):
            chain.call("anvil_mine", ["0x1"])
        return bool(airflow.call("GET", f"dags/{EVENTS}/dagRuns", params={"state": "success"})["dag_runs"])

    until(a_block_has_started_a_run, lambda: f"no block has started a run: {airflow.log_tail(2000)}")
    airflow.call("PATCH", f"dags/{EVENTS}", json={"is_paused": True})
    for dag_id, run_id in runs.items():
        airflow.wait(dag_id, run_id, PATIENCE)
    failed = {
        dag_id: {task["task_id"] for task in airflow.tasks(dag_id, run_id) if task["state"] != "success"}
        for dag_id, run_id in runs.items()
    }
    ended = written_by(airflow)

    for machine in (*hook.nodes.list(), *hook.clusters.list(), *BloqHook("canary_member").nodes.list()):
        secrets |= credentials_of(machine)
    hook.nodes.delete(node.id)
    hook.clusters.delete(cluster.id)
    return Family(failed, unrevealed(waited), unrevealed(ended), secrets)


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


def credentials_of(machine: Deployment) -> dict[str, str]:
    """Name what opens a node or cluster; nothing, if it has no password of its own."""
    auth = machine.auth
    if auth is None or auth.user is None or auth.password is None:
        return {}
    return credentials(machine.id, auth.user.reveal(), auth.password.reveal())


def test_the_family_did_what_it_was_meant_to(family: Family) -> None:
    for dag_id in ("family_canaries", "waiting_canaries"):
        logs = {task_id: family.logs_of(dag_id, task_id)[-3000:] for task_id in family.failed[dag_id]}
        assert logs == {}
    assert family.failed["failing_family"] == {*ERRORS, "killed"}
    for task_id, error in ERRORS.items():
        log = family.logs_of("failing_family", task_id)
        assert error.encode() in log, (task_id, log[-3000:])


def test_no_secret_is_written_while_tasks_wait(family: Family) -> None:
    assert leaks(family.secrets, family.waited) == []


def test_no_secret_is_left_when_all_have_ended(family: Family) -> None:
    assert leaks(family.secrets, family.ended) == []


def test_the_search_covers_where_the_family_writes(family: Family, fleet: RealFleet) -> None:
    for trigger in (
        "BloqWaitTrigger",
        "BloqNodeStartTrigger",
        "BloqClusterUpdateTrigger",
        "BloqBlockTrigger",
    ):
        assert trigger.encode() in family.waited["table trigger"]
    # What the triggers were to hand on, and what the worker remembers from one look to the next.
    assert b"execute_complete" in family.waited["table task_instance"]
    assert b"block_looked_at" in family.waited["table task_state_store"]
    assert b"killed" in family.ended["table log"]
    assert b"eth_noSuchMethod" in family.ended["table rendered_task_instance_fields"]
    assert b"bloq_created" in family.ended["table xcom"]
    assert b"cursor" in family.ended["table asset_state_store"]
    assert b"first" in family.ended["table asset_event"]
    files = b"".join(text for name, text in family.ended.items() if name.startswith("results/"))
    assert b"0x7a69" in files
    assert b"eth_noSuchMethod" in files
    assert any("trigger" in name for name in family.ended if name.startswith("logs/"))
    shared = fleet.stored()
    assert shared is not None
    assert made_by_bloq(shared.secret.reveal().encode())


def test_what_tasks_say_of_a_secret_is_masked(family: Family) -> None:
    said = {
        (task_id, word): set(
            re.findall(
                rb'"event":"%s (?:eyJ)?([^"]*)' % word.encode(), family.logs_of("family_canaries", task_id)
            )
        )
        for task_id, word in (
            ("talk", "node-password"),
            ("talk_async", "node-password"),
            ("talk_async", "async-token"),
            ("read_shared", "shared-token"),
            ("talk_to_connect", "path-key"),
        )
    }
    assert said == {key: {b"***"} for key in said}
