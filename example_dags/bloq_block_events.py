"""Run for the blocks of a chain as they become final: no schedule, no polling task, no block twice.

The watcher of the asset lives in the triggerer. It keeps its position in Airflow's state store (3.3): after a restart
it continues with the block after the last one it has reported.

A node, unlike a cluster, needs its certificate pinned: by the connection's ``node_fingerprints``, or by
``tls_fingerprint=`` beside ``node=``. Without that the watcher retries forever and fires nothing; the triggerer's log
says why.
"""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_bloq.assets.bloq import blocks

#: Id of a node of Ethereum's mainnet. What a DAG is scheduled by must be known when its file is parsed.
NODE = os.environ.get("BLOQ_EXAMPLE_NODE", "node-00000000-0000-4000-8000-000000000000")
BLOCKS = blocks("eth", "mainnet", node=NODE, confirmations=3, max_range=50, poll_interval=2)


@dag(schedule=[BLOCKS], catchup=False, max_active_runs=1, tags=["bloq", "example"])
def bloq_block_events() -> None:
    """Count the transactions of the blocks that have become final since the run before."""

    @task.bloq
    def count_transactions(bloq: Any, triggering_asset_events: Any) -> dict[str, int]:
        """Return the number of transactions of each block."""
        counts: dict[str, int] = {}
        for happened in triggering_asset_events[BLOCKS]:
            told = happened.extra["payload"]
            if told["event"] == "reorg":
                # Only where a reorg went deeper than the confirmations waited for: what was made of these
                # blocks is void, and they are reported again.
                for height in range(told["first"], told["last"] + 1):
                    counts.pop(str(height), None)
                continue
            heights = range(told["first"], told["last"] + 1)
            numbers = bloq.rpc(NODE).batch(
                [["eth_getBlockTransactionCountByNumber", [hex(height)]] for height in heights]
            )
            counts |= {str(height): int(number, 16) for height, number in zip(heights, numbers, strict=True)}
        return counts

    count_transactions()


bloq_block_events()
