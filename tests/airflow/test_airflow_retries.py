"""Airflow retries what can succeed later, and fails at once what only a person can mend."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_bloq.testing.stack import LocalStack

RETRIES: dict[str, Any] = {"retries": 3, "retry_delay": timedelta(0)}


def operator_dag() -> Any:
    from airflow.sdk import DAG

    from airflow_provider_bloq.operators.nodes import BloqListNodesOperator

    with DAG("refused_operator", schedule=None) as dag:
        BloqListNodesOperator(task_id="list", **RETRIES)
    return dag


def task_dag() -> Any:
    from airflow.sdk import DAG, task

    with DAG("refused_task", schedule=None) as dag:

        @task(**RETRIES)
        def call() -> int:
            from airflow_provider_bloq.hooks.bloq import BloqHook

            hook = BloqHook()
            return hook.get_conn().get(f"{hook.settings.nodes_url}/users/me/nodes").status_code

        call()
    return dag


@pytest.mark.parametrize("make", [operator_dag, task_dag])
def test_refused_keys_fail_a_task_at_once_after_one_more_reading(
    make: Callable[[], Any], connections: LocalStack, run_dag: Callable[..., Any]
) -> None:
    stack = connections
    stack.bloq.delete_client_keys(stack.keys.client_id)
    try:
        before = stack.key_reads()
        run = run_dag(make())
        (task,) = run.get_task_instances()
        assert (task.state, task.try_number) == ("failed", 1)
        assert stack.key_reads() - before == 2
    finally:
        stack.renew_keys()


def test_a_wrong_setting_fails_a_task_at_once(
    connections: LocalStack, run_dag: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_BLOQ_DEFAULT", '{"conn_type": "bloq", "extra": {"vault_path": "data/x", "timeout": -1}}'
    )
    run = run_dag(operator_dag())
    (task,) = run.get_task_instances()
    assert (task.state, task.try_number) == ("failed", 1)
