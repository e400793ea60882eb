"""Call Bloq through Airflow's own HTTP operator and hook, authenticated by ``BloqAuth``.

Needs a connection ``bloq_default`` of the type ``bloq``, and a connection ``bloq_nodes`` of the type
``http`` with the URL of Nodes as its host and ``bloq_default`` as its login: that tells ``BloqAuth``
whose token to use.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import dag, task

from airflow_provider_bloq.hooks.auth import BloqAuth


@dag(schedule=None, catchup=False, tags=["bloq", "example"])
def bloq_http_operator() -> None:
    """List chains with the operator, and nodes with the hook."""
    HttpOperator(
        task_id="list_services",
        http_conn_id="bloq_nodes",
        method="GET",
        endpoint="services/nodes",
        auth_type=BloqAuth,
        response_filter=lambda response: sorted({service["chain"] for service in response.json()}),
    )

    @task
    def list_nodes() -> list[str]:
        """List the ids of the nodes. Whole node objects may hold a password, so they stay in here."""
        from airflow.providers.http.hooks.http import HttpHook

        hook: Any = HttpHook(method="GET", http_conn_id="bloq_nodes", auth_type=BloqAuth)
        return [node["id"] for node in hook.run("users/me/nodes").json()]

    list_nodes()


bloq_http_operator()
