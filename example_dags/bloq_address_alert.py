"""Alert when an address moves, without a node and without polling tasks: its payments start this DAG.

The watcher of the asset looks through Connect, woken by its stream for each new block. It tells of each payment once,
as soon as its block is deep enough, and goes on from its place after a restart.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_bloq.assets.bloq import addresses

#: What a DAG is scheduled by must be known when its file is parsed.
ADDRESS = os.environ.get("BLOQ_EXAMPLE_ADDRESS", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq")
NETWORK = os.environ.get("BLOQ_EXAMPLE_NETWORK", "mainnet")
TREASURY = addresses("btc", NETWORK, "treasury", addresses=ADDRESS, connect=True, confirmations=2)


@dag(schedule=[TREASURY], catchup=False, max_active_runs=1, tags=["bloq", "example"])
def bloq_address_alert() -> None:
    """Say what went in and out of the address."""

    # An event starts one run, so an alert is worth a few tries.
    @task(retries=3, retry_delay=timedelta(seconds=10))
    def alert(triggering_asset_events: Any) -> list[str]:
        """Return the alerts; put here what sends them."""
        alerts = []
        for happened in triggering_asset_events[TREASURY]:
            told = happened.extra["payload"]
            if told["event"] == "reorg":
                # Only where a reorg went deeper than the confirmations that were waited for.
                alerts.append(f"void: blocks {told['first']} to {told['last']}, which come anew")
                continue
            for moved in told["transfers"]:
                direction = "in" if moved["to"] else "out"
                alerts.append(f"{direction}: {moved['amount']} satoshi by {moved['tx_hash']}")
        return alerts

    alert()


bloq_address_alert()
