"""Examples that only a whole Airflow can run: one that blocks start, and one that asks a person."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.stack import LocalStack
from tests.airflow.awaiting import PATIENCE, is_known_to_have_paused, until

#: Confirmations that the example waits for.
CONFIRMATIONS = 3


@pytest.fixture
def hook(short_lived: LocalStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[BloqHook]:
    shared_providers.forget()
    for conn_id, fields in short_lived.connections().items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
    yield BloqHook()
    shared_providers.forget()


@pytest.mark.slow
@pytest.mark.anvil
def test_bloq_block_events(
    airflow: LocalAirflow, short_lived: LocalStack, hook: BloqHook, watched_node: str
) -> None:
    rpc = hook.rpc(watched_node, tls_fingerprint=short_lived.bloq.node_fingerprint(watched_node))
    airflow.call("PATCH", "dags/bloq_block_events", json={"is_paused": False})
    # Final blocks only make events once the watcher has taken its place, so they go on coming until it has.
    counted: dict[str, int] = {}

    def two_blocks_were_counted() -> bool:
        rpc.call("anvil_mine", ["0x1"])
        counted.update(counts_of(airflow))
        return len(counted) >= 2

    until(two_blocks_were_counted, lambda: f"counted: {counted}")
    heights = sorted(map(int, counted))
    assert heights == list(range(heights[0], heights[-1] + 1))
    assert heights[-1] <= int(rpc.call("eth_blockNumber"), 16) - CONFIRMATIONS + 1
    assert set(counted.values()) == {0}
    airflow.call("PATCH", "dags/bloq_block_events", json={"is_paused": True})


def counts_of(airflow: LocalAirflow) -> dict[str, int]:
    """Return what the runs that have ended have counted."""
    counts: dict[str, int] = {}
    runs = airflow.call("GET", "dags/bloq_block_events/dagRuns", params={"limit": 100})["dag_runs"]
    assert not any(run["state"] == "failed" for run in runs)
    for run in runs:
        if run["state"] == "success":
            path = f"dags/bloq_block_events/dagRuns/{run['dag_run_id']}/taskInstances/count_transactions"
            counts |= airflow.call("GET", f"{path}/xcomEntries/return_value")["value"]
    return counts


@pytest.mark.slow
@pytest.mark.parametrize(("choice", "members"), [("Approve", 4), ("Reject", 2)])
def test_bloq_cluster_scaling(
    airflow: LocalAirflow, short_lived: LocalStack, hook: BloqHook, choice: str, members: int
) -> None:
    cluster = hook.clusters.create(short_lived.bloq.service_id("eth", kind="cluster"), capacity=2)
    run_id = airflow.trigger("bloq_cluster_scaling", {"cluster": cluster.id, "capacity": 4})
    question = f"dags/bloq_cluster_scaling/dagRuns/{run_id}/taskInstances/approve"
    # The answer of a program is quicker than that of a person.
    until(
        lambda: (
            airflow.call("GET", question)["state"] in ("awaiting_input", "deferred")
            and is_known_to_have_paused(airflow, "bloq_cluster_scaling", run_id, "approve")
        ),
        lambda: f"nobody is asked: {airflow.tasks('bloq_cluster_scaling', run_id)}",
    )
    answer = {"chosen_options": [choice], "params_input": {}}
    airflow.call("PATCH", f"{question}/-1/hitlDetails", json=answer)
    ended = airflow.wait("bloq_cluster_scaling", run_id, PATIENCE)
    assert ended == "success", airflow.tasks("bloq_cluster_scaling", run_id)
    assert hook.clusters.get(cluster.id).shown["capacity"] == members
    hook.clusters.delete(cluster.id)
