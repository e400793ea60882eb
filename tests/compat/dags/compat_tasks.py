"""An operator that waits, a sensor that pokes, a function with a hook; each on every supported Airflow."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, cast

from airflow.sdk import dag, task

from airflow_provider_bloq.hooks.retries import BloqRetryPolicy
from airflow_provider_bloq.operators.nodes import BloqCreateNodeOperator, BloqDeleteNodeOperator
from airflow_provider_bloq.sensors.nodes import BloqNodeSensor


@dag(schedule=None, catchup=False, default_args={"retries": 1, "retry_delay": timedelta(0)})
def compat_tasks() -> None:
    """Create a node, wait for it in two ways, look at it, and delete it."""
    created = BloqCreateNodeOperator(
        task_id="create",
        service_id=os.environ["COMPAT_SERVICE"],
        poll_interval=0.2,
        retry_policy=BloqRetryPolicy(first=1.0),
    )
    node: Any = created.output
    started: Any = BloqNodeSensor(task_id="poke", node=node, poke_interval=1, timeout=60)

    @task.bloq
    def look(bloq: Any, node: dict[str, Any]) -> str:
        return f"state: {bloq.nodes.get(node['id']).state}"

    deleted = BloqDeleteNodeOperator(task_id="delete", node=node)
    created >> started >> cast("Any", look)(node) >> deleted


compat_tasks()
