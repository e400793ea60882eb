"""Many tasks, each of which asks Nodes for one thing."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task

TASKS = 200


@dag(
    schedule=None,
    # As many at once as the executor takes.
    max_active_tasks=TASKS,
    params={"conn_id": Param("bloq_alone", type="string")},
)
def fleet() -> None:
    """Call Nodes once from each of the tasks."""

    @task
    def call_once(number: int, params: dict[str, Any]) -> None:
        from airflow_provider_bloq.hooks.bloq import BloqHook

        BloqHook(params["conn_id"]).nodes.list()

    call_once.expand(number=list(range(TASKS)))


fleet()
