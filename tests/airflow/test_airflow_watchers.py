"""A DAG that new blocks start, in a real Airflow, across the sudden death of its triggerer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.airflow import AirflowPart, LocalAirflow
from airflow_provider_bloq.testing.stack import LocalStack

pytestmark = [pytest.mark.anvil, pytest.mark.slow]

DAG_ID = "for_each_block"
WATCHING = f"""
import json, os
from airflow.sdk import DAG, task
from airflow_provider_bloq.assets.bloq import blocks

node = json.loads(os.environ["WATCHED_NODE"])
chain = blocks("eth", "mainnet", node=node, confirmations=1, poll_interval=0.2, max_range=2)
with DAG("{DAG_ID}", schedule=[chain], is_paused_upon_creation=False) as dag:

    @task
    def heights(triggering_asset_events):
        payloads = [event.extra["payload"] for events in triggering_asset_events.values() for event in events]
        return [height for payload in payloads for height in range(payload["first"], payload["last"] + 1)]

    heights()
"""
#: Soon after its death a triggerer counts as dead, and files are read again.
IMPATIENT = {
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "2",
}


class MortalAirflow(LocalAirflow):
    """An Airflow whose triggerer, the last of its parts, can be killed and replaced."""

    def _launch(self, parts: Sequence[AirflowPart], settings: Mapping[str, str]) -> None:
        self._known = settings
        super()._launch(parts, settings)

    def kill_triggerer(self) -> None:
        os.killpg(self._processes[-1].pid, signal.SIGKILL)

    def start_triggerer(self) -> None:
        self._processes.append(self._command(["triggerer"], self._known).start())


class Chain:
    """A node's chain, and what Airflow knows of its blocks."""

    def __init__(self, airflow: MortalAirflow, hook: BloqHook, node: dict[str, Any]) -> None:
        self.airflow = airflow
        self._rpc = hook.rpc(node)

    @property
    def height(self) -> int:
        return int(self._rpc.call("eth_blockNumber"), 16)

    def mine(self, blocks: int) -> None:
        self._rpc.call("anvil_mine", [hex(blocks)])

    def place(self) -> dict[str, Any]:
        """Return the place that the watcher keeps; empty if there is none."""
        assets = self.airflow.call("GET", "assets", params={"uri_pattern": "bloq://"})["assets"]
        kept = [
            entry["value"]
            for asset in assets
            for entry in self.airflow.call("GET", f"assets/{asset['id']}/state-store")["asset_state_store"]
        ]
        assert len(kept) <= 1, "one watcher keeps one place"
        return dict(kept[0]) if kept else {}

    def is_settled(self) -> bool:
        """Tell whether all blocks have arrived, and the watcher knows it."""
        place = self.place()
        return bool(place) and "sent" not in place and place["cursor"]["height"] == self.height

    def payloads(self) -> list[dict[str, Any]]:
        """Return the events of the watcher, in the order in which they arrived."""
        found = self.airflow.call("GET", "assets/events", params={"limit": 100})["asset_events"]
        return [event["extra"]["payload"] for event in sorted(found, key=lambda event: int(event["id"]))]

    def heights_in_runs(self) -> list[int] | None:
        """Return the heights that runs of the DAG got, in ascending order; None while one is under way."""
        runs = self.airflow.call("GET", f"dags/{DAG_ID}/dagRuns", params={"limit": 100})["dag_runs"]
        if any(run["state"] != "success" for run in runs):
            return None
        results = [
            self.airflow.call(
                "GET",
                f"dags/{DAG_ID}/dagRuns/{run['dag_run_id']}/taskInstances/heights/xcomEntries/return_value",
            )["value"]
            for run in runs
        ]
        return sorted(height for result in results for height in result)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        self.airflow._until(condition, 120.0, what)


@pytest.fixture
def chain(short_lived: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """An Airflow of its own, whose triggerer may be killed, with the DAG and the chain of a new node."""
    for conn_id, fields in short_lived.connections().items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
    hook = BloqHook()
    created = hook.nodes.create(short_lived.bloq.service_id("eth"), "jwt")
    fingerprint = short_lived.bloq.node_fingerprint(created.id)
    node = {**created.public(), "tls_fingerprint": fingerprint}
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "watching.py").write_text(WATCHING)
    environment = {**IMPATIENT, "WATCHED_NODE": json.dumps(node)}
    with MortalAirflow(tmp_path / "dags", environment=environment) as airflow:
        for conn_id, fields in short_lived.connections().items():
            airflow.add_connection(conn_id, fields)
        yield Chain(airflow, hook, node)
    hook.nodes.delete(created.id)


def test_each_block_reaches_a_run_once_although_the_triggerer_is_killed(chain: Chain) -> None:
    chain.until(lambda: bool(chain.place()), "the watcher does not run")
    start = chain.place()["cursor"]["height"] + 1
    chain.mine(5)
    chain.until(chain.is_settled, "the first blocks have not arrived")

    chain.airflow.kill_triggerer()
    chain.mine(5)
    chain.airflow.start_triggerer()
    chain.until(chain.is_settled, "the blocks that were mined meanwhile have not arrived")
    chain.mine(2)
    chain.until(chain.is_settled, "the last blocks have not arrived")

    expected = list(range(start, chain.height + 1))
    # Not before: of an event whose run is queued Airflow's API answers with an error.
    chain.until(lambda: chain.heights_in_runs() == expected, "the runs have not got each block once")
    payloads = chain.payloads()
    told = [height for payload in payloads for height in range(payload["first"], payload["last"] + 1)]
    assert told == expected
    assert max(payload["last"] - payload["first"] for payload in payloads) == 1
    assert not any(payload["redelivered"] for payload in payloads)
