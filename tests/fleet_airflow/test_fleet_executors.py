"""What two hundred real tasks cost Accounts and Vault, on the LocalExecutor and under Celery."""

from __future__ import annotations

import pytest

from airflow_provider_bloq.testing.airflow import AirflowProcesses
from airflow_provider_bloq.testing.local.backend import CounterSnapshot
from airflow_provider_bloq.testing.stack import LocalStack

pytestmark = pytest.mark.slow

DAG = "fleet"
TASKS = 200
#: Far more than it takes, in seconds.
PATIENCE = 1800.0


def ran(airflow: AirflowProcesses, stack: LocalStack, conn_id: str) -> CounterSnapshot:
    """Run all tasks to their success and return what the service counted meanwhile."""
    stack.bloq.reset_counters()
    run = airflow.trigger(DAG, {"conn_id": conn_id})
    airflow.wait(DAG, run, timeout=PATIENCE)
    counted = stack.bloq.counters()
    ends = {(task["state"], task["try_number"], task["map_index"]) for task in airflow.tasks(DAG, run)}
    assert ends == {("success", 1, number) for number in range(TASKS)}, last_words(airflow)
    assert counted.calls["nodes GET /users/me/nodes"] == TASKS
    assert counted.statuses["nodes 200"] == TASKS
    assert counted.unauthorized == {}
    return counted


def last_words(airflow: AirflowProcesses) -> str:
    """Return the ends of some task logs that hold an error."""
    logs = [path.read_text() for path in airflow.logs.glob(f"dag_id={DAG}/**/*.log")]
    return "\n".join([log[-3000:] for log in logs if '"level":"error"' in log][:3]) or airflow.log_tail(10)


def test_without_sharing_each_task_reads_the_keys_once_and_mints_once(
    airflow: AirflowProcesses, stack: LocalStack
) -> None:
    reads = stack.key_reads()
    counted = ran(airflow, stack, "bloq_alone")
    assert (counted.mints, counted.refreshes, stack.key_reads() - reads) == (TASKS, 0, TASKS)
    assert len(counted.tokens["nodes"]) == TASKS


def test_with_sharing_all_tasks_together_mint_at_most_twice(
    airflow: AirflowProcesses, stack: LocalStack
) -> None:
    reads = stack.key_reads()
    counted = ran(airflow, stack, "bloq_sharing")
    assert 1 <= counted.mints <= 2
    assert (counted.refreshes, stack.key_reads() - reads) == (0, counted.mints)
    assert len(counted.tokens["nodes"]) == counted.mints
