"""Read the balances of many addresses: batches within a task, and tasks side by side by dynamic mapping.

A task of its own for each address would be a process, a token and a connection for each. One mapped task
for some thousand addresses makes the same calls by a few requests.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider_bloq.operators.jsonrpc import BloqFanOutOperator

#: Addresses that one task reads.
SHARE = 2_000


@dag(
    schedule=None,
    catchup=False,
    tags=["bloq", "example"],
    params={
        "node": Param(type="string", description="Id of a node of Ethereum"),
        "addresses": Param(type="array", description="Whose balances are read"),
        "block": Param("latest", type="string", description="As of which block"),
        "share": Param(SHARE, type="integer", minimum=1, description="Addresses that one task reads"),
    },
)
def bloq_fan_out() -> None:
    """Share the addresses out, read all shares side by side, add up."""

    @task
    def shares(params: dict[str, Any]) -> list[list[list[str]]]:
        """Return the parameters of the calls, some for each task."""
        calls = [[address, params["block"]] for address in params["addresses"]]
        return [calls[start : start + params["share"]] for start in range(0, len(calls), params["share"])]

    balances = BloqFanOutOperator.partial(
        task_id="read_balances",
        node="{{ params.node }}",
        method="eth_getBalance",
        batch_size=50,
        concurrency=4,
        max_active_tis_per_dagrun=4,
    ).expand(params_list=shares())

    @task
    def total(balances: Any) -> str:
        """Add up what all tasks have read, in wei; as text, since it may not fit into a JSON number."""
        return str(sum(int(balance, 16) for share in balances for balance in share))

    total(balances.output)


bloq_fan_out()
