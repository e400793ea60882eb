"""Use web3.py with a node of Bloq: the hook's session brings the token and the pinned certificate.

Needs a connection ``bloq_default`` of the type ``bloq``, and ``pip install web3``.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task

from airflow_provider_bloq.operators.nodes import BloqCreateNodeOperator, BloqDeleteNodeOperator


@dag(schedule=None, catchup=False, tags=["bloq", "example"])
def bloq_web3() -> None:
    """Create a node, read its chain with web3.py, delete it."""

    @task
    def pick_service() -> str:
        """Find a service for Ethereum's main network."""
        from airflow_provider_bloq.hooks.bloq import BloqHook

        services = BloqHook("bloq_default").nodes.services()
        return str(next(service.id for service in services if service.chain == "eth"))

    @task
    def read_chain(node: dict[str, Any]) -> dict[str, int]:
        """Read a few facts."""
        from web3 import HTTPProvider, Web3

        from airflow_provider_bloq.hooks.bloq import BloqHook

        rpc = BloqHook("bloq_default").rpc(node)
        web3 = Web3(HTTPProvider(rpc.url, session=rpc.get_conn()))
        return {"chain": web3.eth.chain_id, "height": web3.eth.block_number}

    create = BloqCreateNodeOperator(task_id="create_node", service_id=pick_service(), poll_interval=2)
    node: Any = create.output
    delete = BloqDeleteNodeOperator(task_id="delete_node", node=node)
    read_chain(node) >> delete.as_teardown(setups=create)


bloq_web3()
