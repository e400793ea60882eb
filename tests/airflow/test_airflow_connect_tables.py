"""Tables that DAGs keep of what Connect tells: no row is lost or doubled from run to run, whenever a block comes."""

from __future__ import annotations

import csv
import runpy
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import dag, task

from airflow_provider_bloq.operators.connect import BloqAddressHistoryOperator
from airflow_provider_bloq.testing.bitcoind import Bitcoind
from airflow_provider_bloq.testing.stack import LocalStack
from tests.airflow.test_airflow_connect_examples import EXAMPLES, RunExample, run_example, stack
from tests.bitcoin.conftest import bitcoin, bitcoind
from tests.connect.conftest import address_of, fresh_payment

__all__ = ["bitcoin", "bitcoind", "run_example", "stack"]

pytestmark = pytest.mark.bitcoind

HOUR = 3600


@pytest.fixture(scope="module")
def shared_bitcoin(bitcoind: list[str]) -> Iterator[Bitcoind]:
    """A node for these tests alone: what they date into the future, others could not build on."""
    with Bitcoind() as running:
        yield running


@pytest.mark.slow
def test_bloq_payments_per_hour(
    run_example: RunExample, bitcoin: Bitcoind, connections: LocalStack, tmp_path: Path
) -> None:
    is_over = runpy.run_path(str(EXAMPLES / "bloq_payments_per_hour.py"))["is_over"]
    newest = bitcoin.rpc("getblockheader", bitcoin.block_hash(bitcoin.height))["time"]
    payments = [fresh_payment(bitcoin, outputs=number) for number in (1, 2, 3, 4, 5)]
    # An hour that no block is in yet: payments in it, before it and after it.
    begin = (newest // HOUR + 2) * HOUR
    end = begin + HOUR

    def mine_at(seconds: int, payment: Any = None) -> None:
        bitcoin.rpc("setmocktime", begin + seconds)
        bitcoin.mine_only(*([] if payment is None else [payment]))

    # The last comes late: when a block dated after the hour is there already.
    times = (-60, 0, HOUR - 60, HOUR, HOUR - 30)
    for payment, seconds in zip(payments, times, strict=True):
        assert not is_over(end, 2)
        mine_at(seconds, payment)
    inside = [payments[1], payments[2], payments[4]]
    while not is_over(end, 2):
        mine_at(HOUR)
    # Now the node itself dates none back any more.
    mine_at(HOUR - 10)
    assert bitcoin.rpc("getblockheader", bitcoin.block_hash(bitcoin.height))["time"] > end
    conf = {
        "addresses": [address_of(bitcoin, inside[0])],
        "table": tmp_path.as_uri(),
        "confirmations": 2,
    }

    def run(hours: int = 0) -> tuple[dict[str, str], dict[str, Any]]:
        logical_date = datetime.fromtimestamp(end + hours * HOUR, UTC)
        return run_example("bloq_payments_per_hour", logical_date=logical_date, run_conf=conf)

    states, results = run()
    assert set(states.values()) == {"success"}
    told = results["write_partition"]
    expected = {
        (payment.txid, number, coin.satoshi)
        for payment in inside
        for number, coin in enumerate(payment.coins)
    }
    assert (told["payments"], told["received_sat"]) == (10, sum(amount for _, _, amount in expected))

    (file,) = tmp_path.glob("*/payments.csv")
    assert file.parent.name == f"hour={datetime.fromtimestamp(begin, UTC):%Y-%m-%dT%H}"
    written = file.read_text()
    rows = list(csv.DictReader(written.splitlines()))
    assert {(row["txid"], int(row["index"]), int(row["amount_sat"])) for row in rows} == expected
    run()
    assert file.read_text() == written
    for _ in range(8):
        mine_at(7 * HOUR)
    states, _ = run(hours=5)
    assert (states["blocks_of_hour"], states["write_partition"]) == ("skipped", "skipped")
    assert list(tmp_path.glob("*/payments.csv")) == [file]


def test_what_was_not_inserted_is_read_again_by_the_next_run(
    run_dag: Callable[..., Any], bitcoin: Bitcoind, connections: LocalStack
) -> None:
    start = bitcoin.height + 1
    address = address_of(bitcoin, fresh_payment(bitcoin))
    table: list[str] = []
    broken: list[bool] = []

    @dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), max_active_runs=1)
    def kept_table() -> None:
        history: Any = BloqAddressHistoryOperator(
            task_id="history",
            chain="btc",
            addresses=address,
            from_height=start,
            cursor="{{ ti.xcom_pull(task_ids='insert', map_indexes=-1, include_prior_dates=True) | tojson }}",
        )

        @task
        def insert(history: dict[str, Any]) -> Any:
            if broken:
                raise RuntimeError("the database is away")
            table.extend(row["txid"] for row in history["rows"])
            return history["cursor"]

        insert(history.output)

    kept = kept_table()
    paid: list[str] = []
    for day, fails in enumerate((False, False, True, False, False), start=1):
        payment = fresh_payment(bitcoin)
        bitcoin.mine_only(payment)
        paid.append(payment.txid)
        broken[:] = [True] if fails else []
        states = {
            one.task_id: one.state
            for one in run_dag(kept, logical_date=datetime(2026, 2, day, tzinfo=UTC)).get_task_instances()
        }
        assert states == {"history": "success", "insert": "failed" if fails else "success"}
    assert table == paid
