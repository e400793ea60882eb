"""Create an Ethereum node, call it by JSON-RPC with its certificate pinned, and delete it.

Needs a connection ``bloq_default`` of the type ``bloq``. Nothing in here handles a token: the hook gets
one when the first call is made, renews it in time, and reads the client keys again if they were rotated.
"""

from __future__ import annotations

import time
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider_bloq.operators.jsonrpc import BloqJsonRpcOperator
from airflow_provider_bloq.operators.nodes import BloqCreateNodeOperator, BloqDeleteNodeOperator


@dag(
    schedule=None,
    catchup=False,
    tags=["bloq", "example"],
    params={
        "chain": Param("eth", type="string", description="Chain of the node"),
        "network": Param("mainnet", type="string", description="Its network"),
        "calls": Param(3, type="integer", minimum=1, description="How often the head is looked at"),
        "pause": Param(1.0, type="number", minimum=0, description="Seconds between two looks"),
    },
)
def bloq_quickstart() -> None:
    """Create a node, look at its chain, delete it."""

    @task
    def pick_service(params: dict[str, Any]) -> str:
        """Find what can be created for the chain."""
        from airflow_provider_bloq.hooks.bloq import BloqHook

        for service in BloqHook("bloq_default").nodes.services():
            if (service.chain, service.network) == (
                params["chain"],
                params["network"],
            ) and not service.disabled:
                return str(service.id)
        raise LookupError(f"Bloq offers no node for {params['chain']} {params['network']}")

    @task
    def watch_head(node: dict[str, Any], params: dict[str, Any]) -> list[int]:
        """Look at the head of the chain for a while, which may be longer than an access token lives."""
        from airflow_provider_bloq.hooks.bloq import BloqHook

        rpc = BloqHook("bloq_default").rpc(node)
        heights = []
        for _ in range(params["calls"]):
            heights.append(int(rpc.call("eth_blockNumber"), 16))
            # Time passes on purpose: meanwhile tokens expire and keys are rotated.
            time.sleep(params["pause"])
        return heights

    create = BloqCreateNodeOperator(task_id="create_node", service_id=pick_service(), poll_interval=2)
    # The result of the create holds the fingerprint of the node's certificate: it is pinned from here on.
    node: Any = create.output
    balances = BloqJsonRpcOperator(
        task_id="read_balances",
        node=node,
        batch=[
            "eth_chainId",
            ["eth_getBalance", ["0x0000000000000000000000000000000000000000", "latest"]],
        ],
    )
    delete = BloqDeleteNodeOperator(task_id="delete_node", node=node)

    [balances, watch_head(node)] >> delete.as_teardown(setups=create)


bloq_quickstart()
