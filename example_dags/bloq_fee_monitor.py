"""Look at the fee that Bitcoin's transactions need, and go one way or another by it; no node of one's own is needed."""

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
            6, type="integer", minimum=1, description="Within how many blocks a payment should be in one"
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
        """Choose what is done. A young or quiet chain gives no estimate, which stops nobody."""
        return "hold_payments_back" if rate is not None and rate > params["limit"] else "let_payments_go"

    @task
    def hold_payments_back(rate: int | None, params: dict[str, Any]) -> str:
        """Say by how much the fee is too high; put here what holds payments back."""
        return f"{rate} satoshi per 1000 bytes is above {params['limit']}"

    @task
    def let_payments_go(rate: int | None) -> str:
        """Say what a payment costs at present."""
        return "no estimate" if rate is None else f"{rate} satoshi per 1000 bytes"

    rate: Any = estimate.output
    judge(rate) >> [hold_payments_back(rate), let_payments_go(rate)]


bloq_fee_monitor()
