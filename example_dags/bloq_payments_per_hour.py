"""Write payments to Bitcoin addresses into a table with a partition for each hour, without a node.

Each run reads the blocks of its hour and replaces its partition, so that any hour can be run again or backfilled. A
block belongs to the hour of its timestamp, which the miner sets, and may be mined long after it. So a run first waits
until no further block can have a timestamp in its hour, and only then lists the blocks.
"""

from __future__ import annotations

import csv
from datetime import datetime
from typing import Any

from airflow.sdk import ObjectStoragePath, Param, dag, task
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.operators.connect import BloqAddressHistoryOperator, BloqConnectOperator

COLUMNS = ("time", "height", "block_hash", "txid", "index", "address", "amount_sat")
#: The timestamp of a valid block is later than the median of this many blocks before it.
MEDIAN_OF = 11


def is_over(end: float, confirmations: int) -> bool:
    """Return whether no further block can have a timestamp before a time, unless there is a deeper reorg.

    :param end: The time, in epoch seconds.
    :param confirmations: Confirmations after which a block is considered final.
    """
    connect = BloqHook().connect("btc")
    # What Connect has indexed. Its node may be ahead.
    newest = connect.block(connect.last_block().synced_hash or connect.best_block_hash())
    block = connect.block(connect.block_hash(max(0, newest.height - confirmations + 1)))
    times = [block.time]
    while len(times) < MEDIAN_OF and block.previous_hash is not None:
        block = connect.block(block.previous_hash)
        times.append(block.time)
    return sorted(times)[len(times) // 2] >= end


@dag(
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["bloq", "example"],
    params={
        "addresses": Param(
            ["bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"], type="array", description="At most 50 addresses"
        ),
        "table": Param(
            "file:///tmp/bloq_payments",
            type="string",
            description="Folder of the table, on any object storage",
        ),
        "confirmations": Param(
            6, type="integer", minimum=1, description="Confirmations after which a block is final"
        ),
    },
    render_template_as_native_obj=True,
)
def bloq_payments_per_hour() -> None:
    """Wait until the hour is over on the chain, find its blocks, read the payments and write the partition."""

    @task.sensor(poke_interval=60, timeout=24 * 3600, mode="reschedule")
    def wait_until_over(params: dict[str, Any], data_interval_end: Any = None) -> bool:
        """Return whether the hour is over on the chain."""
        return is_over(data_interval_end.timestamp(), params["confirmations"])

    blocks = BloqConnectOperator(
        task_id="list_blocks",
        chain="btc",
        endpoint="blocks",
        parameters={"date": "{{ data_interval_start | ds }}"},
        response_filter="blocks[].{height: height, time: time}",
    )

    @task(multiple_outputs=True)
    def blocks_of_hour(
        listed: list[dict[str, int]], data_interval_start: Any = None, data_interval_end: Any = None
    ) -> dict[str, int]:
        """Return the first and the last block of the hour; skip an hour without blocks."""
        from airflow.sdk.exceptions import AirflowSkipException

        begin, end = data_interval_start.timestamp(), data_interval_end.timestamp()
        heights = [block["height"] for block in listed if begin <= block["time"] < end]
        if not heights:
            raise AirflowSkipException("there is no block in this hour")
        return {"first": min(heights), "last": max(heights)}

    hour: Any = blocks_of_hour(blocks.output)
    history = BloqAddressHistoryOperator(
        task_id="read_payments",
        chain="btc",
        addresses="{{ params.addresses }}",
        from_height=hour["first"],
        confirmations="{{ params.confirmations }}",
    )

    @task
    def write_partition(
        history: dict[str, Any],
        params: dict[str, Any],
        data_interval_start: Any = None,
        data_interval_end: Any = None,
    ) -> dict[str, Any]:
        """Replace the partition of the hour; return its path and its total in satoshi."""
        begin, end = data_interval_start.timestamp(), data_interval_end.timestamp()
        rows = [row for row in history["rows"] if row["direction"] == "in" and begin <= row["time"] < end]
        folder = ObjectStoragePath(params["table"]) / f"hour={data_interval_start:%Y-%m-%dT%H}"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "payments.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return {
            "partition": str(folder),
            "payments": len(rows),
            "received_sat": sum(row["amount_sat"] for row in rows),
        }

    wait_until_over() >> blocks
    write_partition(history.output)


bloq_payments_per_hour()
