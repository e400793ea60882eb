"""Write what addresses of Bitcoin are paid into a table, a partition for each hour; no node of one's own is needed.

Each run reads the blocks of its own hour and replaces its own partition, so that any hour can be run again or made up
for later. A block belongs to the hour that its miner wrote into it. A run waits until the last block of its hour is
deep enough to stay. A block that comes even later, dated back into the hour, counts once that hour is run again.
"""

from __future__ import annotations

import csv
from datetime import datetime
from typing import Any

from airflow.sdk import ObjectStoragePath, Param, dag, task
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_bloq.operators.address_history import BloqAddressHistoryOperator
from airflow_provider_bloq.operators.connect import BloqConnectOperator
from airflow_provider_bloq.sensors.connect import BloqConnectBlockSensor

COLUMNS = ("time", "height", "block_hash", "txid", "index", "address", "amount_sat")


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
        "confirmations": Param(6, type="integer", minimum=1, description="How deep is deep enough"),
    },
    render_template_as_native_obj=True,
)
def bloq_payments_per_hour() -> None:
    """Find the blocks of the hour, wait for them, read the payments, write the partition."""
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
        """Return the first and the last block of the hour. An hour without one is skipped: nobody was paid."""
        from airflow.sdk.exceptions import AirflowSkipException

        begin, end = data_interval_start.timestamp(), data_interval_end.timestamp()
        heights = [block["height"] for block in listed if begin <= block["time"] < end]
        if not heights:
            raise AirflowSkipException("no block was made in this hour")
        return {"first": min(heights), "last": max(heights)}

    hour: Any = blocks_of_hour(blocks.output)
    deep = BloqConnectBlockSensor(
        task_id="wait_until_deep",
        chain="btc",
        height=hour["last"],
        confirmations="{{ params.confirmations }}",
        deferrable=True,
        poke_interval=60,
        timeout=6 * 3600,
    )
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
        """Replace the partition of the hour; return its place and what it adds up to, in satoshi."""
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

    deep >> history
    write_partition(history.output)


bloq_payments_per_hour()
