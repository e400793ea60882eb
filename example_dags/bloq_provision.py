"""Provision a node for one DAG run, use it, and delete it also where what used it has failed.

The create is the setup of the tasks that use the node, the delete their teardown: to clear one of them
creates the node again, and whatever becomes of them, the node is not left behind.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task

from airflow_provider_bloq.operators.jsonrpc import BloqJsonRpcOperator
from airflow_provider_bloq.operators.nodes import (
    BloqCreateNodeOperator,
    BloqDeleteNodeOperator,
    BloqNodeLogsOperator,
)
from airflow_provider_bloq.sensors.nodes import BloqNodeSyncedSensor


@dag(schedule=None, catchup=False, tags=["bloq", "example"])
def bloq_provision() -> None:
    """Create a node, wait until it has the whole chain, read a block, keep its log, delete it."""

    @task.bloq
    def pick_service(bloq: Any) -> str:
        """Find the first service for Ethereum's mainnet."""
        return next(
            str(service.id)
            for service in bloq.nodes.services()
            if (service.chain, service.network) == ("eth", "mainnet") and not service.disabled
        )

    create = BloqCreateNodeOperator(
        task_id="create_node",
        service_id=pick_service(),
        # Waits in the triggerer. A worker that is killed meanwhile costs nothing: the retry waits on for
        # the very node.
        deferrable=True,
        retries=2,
        poll_interval=2,
        # Whoever marks the task as failed has no use for the node.
        cancel_on_kill=True,
    )
    node: Any = create.output
    synced = BloqNodeSyncedSensor(
        task_id="wait_for_chain", node=node, within_blocks=3, deferrable=True, poke_interval=5
    )
    read = BloqJsonRpcOperator(
        task_id="read_block",
        node=node,
        method="eth_getBlockByNumber",
        rpc_params=["latest", False],
        response_filter="{number: number, hash: hash}",
    )
    logs = BloqNodeLogsOperator(task_id="keep_log", node=node, lines=20)
    delete = BloqDeleteNodeOperator(task_id="delete_node", node=node)

    synced >> read >> logs >> delete.as_teardown(setups=create)


bloq_provision()
