"""Estimate the fee of Bitcoin transactions and branch on it, without a node."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider_bloq.operators.connect import BloqConnectOperator


@dag(
    schedule="*/10 * * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["bloq", "example"],
    params={
        "blocks": Param(
            6,
            type="integer",
            minimum=1,
            description="Number of blocks within which a payment should be mined",
        ),
        "limit": Param(
            20_000, type="integer", minimum=0, description="Highest fee, in satoshi per 1000 bytes"
        ),
    },
    render_template_as_native_obj=True,
)
def bloq_fee_monitor() -> None:
    """Estimate the fee; hold payments back while it is above the limit."""
    estimate = BloqConnectOperator(
        task_id="estimate_fee",
        chain="btc",
        endpoint="estimate_fee",
        parameters={"blocks": "{{ params.blocks }}"},
    )

    @task.branch
    def judge(rate: int | None, params: dict[str, Any]) -> str:
        """Choose the branch. A new or quiet chain has no estimate; payments go then."""
        return "hold_payments_back" if rate is not None and rate > params["limit"] else "let_payments_go"

    @task
    def hold_payments_back(rate: int | None, params: dict[str, Any]) -> str:
        """Report the fee; replace this with holding payments back."""
        return f"{rate} satoshi per 1000 bytes is above {params['limit']}"

    @task
    def let_payments_go(rate: int | None) -> str:
        """Report the current fee."""
        return "no estimate" if rate is None else f"{rate} satoshi per 1000 bytes"

    rate: Any = estimate.output
    judge(rate) >> [hold_payments_back(rate), let_payments_go(rate)]


bloq_fee_monitor()
