"""Exchange the client keys in Vault for new ones, once a month, while all other DAGs go on.

Needs a connection ``bloq_default`` whose client keys lie in Vault (``vault_conn_id``, ``vault_path``), and
a second connection to the same Vault, ``vault_bloq_account``, whose role may do two things: read the user
and password of the Bloq account at ``bloq/account``, and read and write the client keys. The role of
the other DAGs needs neither.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag

from airflow_provider_bloq.operators.client_keys import BloqRotateClientKeysOperator


@dag(
    schedule="0 3 1 * *",
    catchup=False,
    # Two rotations of the same keys at a time would get into each other's way.
    max_active_runs=1,
    tags=["bloq", "example"],
)
def bloq_rotate_client_keys() -> None:
    """Exchange the client keys."""
    BloqRotateClientKeysOperator(
        task_id="rotate",
        bloq_conn_id="bloq_default",
        account_vault_conn_id="vault_bloq_account",
        account_vault_path="bloq/account",
        # Longer than an access token lives: no running task then has to read Vault again in the middle of
        # its work. It could, so zero would do as well.
        grace=timedelta(hours=2),
        deferrable=True,
        # A worker may die in the middle: the next try takes up the rotation where it stands.
        retries=5,
        retry_delay=timedelta(minutes=5),
    )


bloq_rotate_client_keys()
