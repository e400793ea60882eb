"""Wait until a transaction is deep enough in the chain, and tell apart what can become of it.

The waiting costs no worker, and all tasks that wait at the same node share their requests.
"""

from __future__ import annotations

from airflow.sdk import Param, dag, task

from airflow_provider_bloq.operators.jsonrpc import BloqJsonRpcOperator
from airflow_provider_bloq.sensors.chains import BloqTransactionSensor


@dag(
    schedule=None,
    catchup=False,
    tags=["bloq", "example"],
    params={
        "node": Param(type="string", description="Id of a node of Ethereum"),
        "tx_hash": Param(type="string", description="Hash of the transaction"),
        "confirmations": Param(12, type="integer", minimum=1, description="How deep is deep enough"),
    },
)
def bloq_confirmations() -> None:
    """Wait for a transaction, read its receipt, say what it cost."""
    confirmed = BloqTransactionSensor(
        task_id="wait_for_transaction",
        node="{{ params.node }}",
        tx_hash="{{ params.tx_hash }}",
        confirmations="{{ params.confirmations }}",
        # A reorg takes confirmations away again, and it waits on. Where the transaction is reverted, replaced
        # or dropped, it fails with an error of that name.
        deferrable=True,
        poke_interval=1,
        timeout=6 * 3600,
    )
    receipt = BloqJsonRpcOperator(
        task_id="read_receipt",
        node="{{ params.node }}",
        method="eth_getTransactionReceipt",
        rpc_params=["{{ params.tx_hash }}"],
        response_filter="{status: status, gas: gasUsed, price: effectiveGasPrice}",
    )

    @task
    def cost(receipt: dict[str, str]) -> str:
        """Return what the transaction cost, in wei."""
        return str(int(receipt["gas"], 16) * int(receipt["price"], 16))

    confirmed >> receipt
    cost(receipt.output)


bloq_confirmations()
