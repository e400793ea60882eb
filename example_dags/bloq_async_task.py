"""Make many calls at once in an async task (Airflow 3.2 and later).

Needs a connection ``bloq_default`` of the type ``bloq``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook


@dag(schedule=None, catchup=False, tags=["bloq", "example"])
def bloq_async_task() -> None:
    """Ask for everything on offer, and for what is running, at the same time."""

    @task
    async def take_stock() -> dict[str, Any]:
        """Count chains, nodes and clusters."""
        async with BloqAsyncHook("bloq_default") as bloq:
            offers, nodes, clusters = await asyncio.gather(
                bloq.nodes.services(), bloq.nodes.list(), bloq.clusters.list()
            )
        return {
            "chains": sorted({offer.chain for offer in offers}),
            "nodes": len(nodes),
            "clusters": len(clusters),
        }

    take_stock()


bloq_async_task()
