"""Scale a cluster to the load that is expected, once a person has approved."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, dag

from airflow_provider_bloq.operators.clusters import BloqGetClusterOperator, BloqUpdateClusterOperator
from airflow_provider_bloq.sensors.nodes import BloqClusterSensor


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["bloq", "example"],
    params={
        "cluster": Param(type="string", description="Id of the cluster"),
        "capacity": Param(4, type="integer", minimum=2, maximum=10, description="Members wanted"),
    },
)
def bloq_cluster_scaling() -> None:
    """Show the cluster, ask, update it, and wait until all of its members are healthy."""
    before = BloqGetClusterOperator(task_id="read_cluster", cluster="{{ params.cluster }}")
    approve = ApprovalOperator(
        task_id="approve",
        subject="Scale {{ params.cluster }} to {{ params.capacity }} members?",
        body="It has {{ ti.xcom_pull('read_cluster')['capacity'] }} now. Each member is billed.",
        fail_on_reject=False,
    )
    update = BloqUpdateClusterOperator(
        task_id="update_cluster",
        cluster="{{ params.cluster }}",
        capacity="{{ params.capacity }}",
        # An update that a lost worker has begun is not begun again.
        retries=2,
        poll_interval=2,
    )
    healthy: Any = BloqClusterSensor(
        task_id="wait_until_healthy",
        cluster="{{ params.cluster }}",
        at_least="{{ params.capacity }}",
        deferrable=True,
        poke_interval=2,
        timeout=1800,
    )

    before >> approve >> update >> healthy


bloq_cluster_scaling()
