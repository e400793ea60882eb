"""The example DAGs of Connect run against a real Bitcoin node behind the local service."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.local import LocalBloqOptions
from airflow_provider_bloq.testing.stack import LocalStack
from tests.airflow.awaiting import until
from tests.airflow.leaks import leaks, written_by
from tests.bitcoin.conftest import bitcoin, bitcoind, shared_bitcoin
from tests.connect.conftest import address_of, fresh_payment
from tests.support.shared_chain import SharedChain

__all__ = ["bitcoin", "bitcoind", "shared_bitcoin"]

pytestmark = pytest.mark.bitcoind

EXAMPLES = Path(__file__).parents[2] / "example_dags"

#: Runs an example in this process, and returns its tasks' states and results.
RunExample = Callable[..., tuple[dict[str, str], dict[str, Any]]]


@pytest.fixture(scope="module")
def stack(shared_bitcoin: Bitcoind) -> Iterator[LocalStack]:
    """A stack whose Connect has that node behind it."""
    upstreams = {"btc": lambda: SharedChain(shared_bitcoin)}
    with LocalStack(LocalBloqOptions(upstreams={}, connect_upstreams=upstreams)) as running:
        yield running


@pytest.fixture
def run_example(connections: LocalStack, run_dag: Callable[..., Any]) -> RunExample:
    def run(name: str, **arguments: Any) -> tuple[dict[str, str], dict[str, Any]]:
        dag = runpy.run_path(str(EXAMPLES / f"{name}.py"))[name]()
        tasks = run_dag(dag, **arguments).get_task_instances()
        return (
            {task.task_id: task.state for task in tasks},
            {task.task_id: task.xcom_pull(task_ids=task.task_id) for task in tasks},
        )

    return run


def test_bloq_fee_monitor(run_example: RunExample, bitcoin: Bitcoind) -> None:
    # A node estimates only after it has seen many transactions come and go.
    source = pay([bitcoin.coin()], fee=20_000, outputs=100)
    bitcoin.mine_only(source)
    coins = source.coins
    while "feerate" not in (estimate := bitcoin.rpc("estimatesmartfee", 6)):
        sent = [pay([coin], fee=5_000) for coin in coins]
        for payment in sent:
            bitcoin.send(payment)
        bitcoin.mine()
        coins = tuple(payment.coins[0] for payment in sent)
    rate = round(estimate["feerate"] * 100_000_000)

    states, results = run_example("bloq_fee_monitor", run_conf={"limit": rate - 1})
    assert results["estimate_fee"] == rate
    assert (states["hold_payments_back"], states["let_payments_go"]) == ("success", "skipped")
    assert results["hold_payments_back"] == f"{rate} satoshi per 1000 bytes is above {rate - 1}"
    states, results = run_example("bloq_fee_monitor", run_conf={"limit": rate})
    assert (states["hold_payments_back"], states["let_payments_go"]) == ("skipped", "success")
    assert results["let_payments_go"] == f"{rate} satoshi per 1000 bytes"


@pytest.mark.slow
def test_bloq_address_alert(stack: LocalStack, bitcoin: Bitcoind, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "bloq_address_alert.py", tmp_path)
    received = fresh_payment(bitcoin)
    environment = {
        "BLOQ_EXAMPLE_ADDRESS": address_of(bitcoin, received),
        "BLOQ_EXAMPLE_NETWORK": "regtest",
    }
    with LocalAirflow(tmp_path, environment=environment) as airflow:
        for conn_id, fields in stack.connections().items():
            airflow.add_connection(conn_id, fields)
        airflow.call("PATCH", "dags/bloq_address_alert", json={"is_paused": False})
        until(lambda: bool(places(airflow)), lambda: "the watcher has not taken its place")
        spending = pay(received.coins, fee=2_000)
        bitcoin.mine_only(received)
        bitcoin.mine_only(spending)
        first = {
            f"in: {received.coins[0].satoshi} satoshi by {received.txid}",
            f"out: {received.coins[0].satoshi} satoshi by {spending.txid}",
            f"in: {spending.coins[0].satoshi} satoshi by {spending.txid}",
        }
        further: set[str] = set()
        alerts: list[str] = []

        def first_are_alerted() -> bool:
            # What comes while a run begins, Airflow leaves to the run after the next event:
            # https://github.com/apache/airflow/issues/56050.
            payment = fresh_payment(bitcoin)
            further.add(f"in: {payment.coins[0].satoshi} satoshi by {payment.txid}")
            bitcoin.mine_only(payment)
            alerts[:] = alerts_of(airflow)
            return first <= set(alerts)

        until(first_are_alerted, lambda: f"alerted: {alerts}")
        assert len(alerts) == len(set(alerts))
        assert set(alerts) <= first | further
        # The stream's URL holds the access token.
        assert any(call.startswith("stream ") for call in stack.bloq.counters().calls)
        secrets = {
            "the client secret": stack.keys.client_secret,
            "the secret id": stack.connections()["vault_bloq"]["password"],
        }
        assert leaks(secrets, written_by(airflow)) == []


def places(airflow: LocalAirflow) -> list[Any]:
    """Return the places that watchers keep."""
    assets = airflow.call("GET", "assets", params={"uri_pattern": "bloq://"})["assets"]
    return [
        entry["value"]
        for asset in assets
        for entry in airflow.call("GET", f"assets/{asset['id']}/state-store")["asset_state_store"]
    ]


def alerts_of(airflow: LocalAirflow) -> list[str]:
    """Return what the runs that have ended have alerted."""
    runs = airflow.call("GET", "dags/bloq_address_alert/dagRuns", params={"limit": 100})["dag_runs"]
    assert not any(run["state"] == "failed" for run in runs)
    return [
        alert
        for run in runs
        if run["state"] == "success"
        for alert in airflow.call(
            "GET",
            f"dags/bloq_address_alert/dagRuns/{run['dag_run_id']}/taskInstances/alert/xcomEntries/return_value",
        )["value"]
    ]
