"""Alert when an address receives or sends a payment, without a node and without polling tasks.

The watcher of the asset reads Connect, woken by its stream for each new block. Each payment starts this DAG once, as
soon as it has enough confirmations. After a restart the watcher continues where it stopped.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_bloq.assets.bloq import addresses

#: The schedule of a DAG must be known when its file is parsed.
ADDRESS = os.environ.get("BLOQ_EXAMPLE_ADDRESS", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq")
NETWORK = os.environ.get("BLOQ_EXAMPLE_NETWORK", "mainnet")
TREASURY = addresses("btc", NETWORK, "treasury", addresses=ADDRESS, connect=True, confirmations=2)


@dag(schedule=[TREASURY], catchup=False, max_active_runs=1, tags=["bloq", "example"])
def bloq_address_alert() -> None:
    """Report payments to and from the address."""

    # Each event starts only one run, so retry the alert.
    @task(retries=3, retry_delay=timedelta(seconds=10))
    def alert(triggering_asset_events: Any) -> list[str]:
        """Return the alerts; replace this with sending them."""
        alerts = []
        for event in triggering_asset_events[TREASURY]:
            payload = event.extra["payload"]
            if payload["event"] == "reorg":
                # Only if a reorg was deeper than the confirmations.
                alerts.append(
                    f"void: blocks {payload['first']} to {payload['last']}, which will be reported again"
                )
                continue
            for transfer in payload["transfers"]:
                direction = "in" if transfer["to"] else "out"
                alerts.append(f"{direction}: {transfer['amount']} satoshi by {transfer['tx_hash']}")
        return alerts

    alert()


bloq_address_alert()
