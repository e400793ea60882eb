"""Keep one access token fresh for a whole fleet of tasks.

Needs two connections of the type ``bloq`` with ``sharing: vault`` and the same ``shared_vault_path``:
``bloq_broker`` with client keys (or ``vault_path``), whose Vault role may write the shared path, and
``bloq_default`` without any, whose role may only read it. However many tasks run, Accounts sees about
one request an hour, and no task ever sees the client keys.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import dag, task

from airflow_provider_bloq.operators.client_keys import BloqTokenBrokerOperator


@dag(
    # Tokens live an hour: a run that fails, or comes late, leaves two more to be in time.
    schedule=timedelta(minutes=15),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["bloq", "example"],
)
def bloq_token_broker() -> None:
    """Keep the shared token good for more than two runs ahead, then show that a reader can work."""
    keep_fresh = BloqTokenBrokerOperator(
        task_id="keep_fresh",
        bloq_conn_id="bloq_broker",
        valid_for=timedelta(minutes=40).total_seconds(),
        retries=3,
        retry_delay=timedelta(minutes=1),
    )

    @task
    def list_nodes() -> list[str]:
        """List the nodes with the shared token."""
        from airflow_provider_bloq.hooks.bloq import BloqHook

        return [node.id for node in BloqHook("bloq_default").nodes.list()]

    keep_fresh >> list_nodes()


bloq_token_broker()
