"""Airflow retries what can succeed later, and fails at once what only a person can mend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_bloq.testing.local.faults import Fault, FaultKind
from airflow_provider_bloq.testing.stack import LocalStack

RETRIES: dict[str, Any] = {"retries": 3, "retry_delay": timedelta(0)}

RunDag = Callable[..., Any]


def by_operator() -> Any:
    from airflow.sdk import DAG

    from airflow_provider_bloq.hooks.retries import BloqRetryPolicy
    from airflow_provider_bloq.operators.nodes import BloqListNodesOperator

    with DAG("list_by_operator", schedule=None) as dag:
        # The policy's own pauses are longer than a test should wait.
        BloqListNodesOperator(task_id="list", retry_policy=BloqRetryPolicy(first=0.1), **RETRIES)
    return dag


def by_hook() -> Any:
    from airflow.sdk import DAG, task

    with DAG("list_by_hook", schedule=None) as dag:

        @task
        def call() -> int:
            from airflow_provider_bloq.hooks.bloq import BloqHook

            return len(BloqHook().nodes.list())

        call.override(**RETRIES)()
    return dag


def by_session() -> Any:
    from airflow.sdk import DAG, task

    with DAG("list_by_session", schedule=None) as dag:

        @task
        def call() -> int:
            from airflow_provider_bloq.hooks.bloq import BloqHook

            hook = BloqHook()
            return hook.get_conn().get(f"{hook.settings.nodes_url}/users/me/nodes").status_code

        call.override(**RETRIES)()
    return dag


def by_async_hook() -> Any:
    from airflow.sdk import DAG, task

    with DAG("list_by_async_hook", schedule=None) as dag:

        @task
        async def call() -> int:
            from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook

            async with BloqAsyncHook() as hook:
                return len(await hook.nodes.list())

        call.override(**RETRIES)()
    return dag


def create_by_operator() -> Any:
    from airflow.sdk import DAG, task

    from airflow_provider_bloq.operators.nodes import BloqCreateNodeOperator

    with DAG("create_by_operator", schedule=None) as dag:

        @task
        def pick_service() -> str:
            from airflow_provider_bloq.hooks.bloq import BloqHook

            return next(str(offer.id) for offer in BloqHook().nodes.services() if offer.chain == "btc")

        service_id: Any = pick_service()
        BloqCreateNodeOperator(task_id="create", service_id=service_id, wait_for_completion=False, **RETRIES)
    return dag


EVERY_WAY = [by_operator, by_hook, by_session, by_async_hook]


@pytest.fixture
def refused(connections: LocalStack) -> Iterator[LocalStack]:
    """The keys in Vault are ones that Bloq has deleted."""
    connections.bloq.delete_client_keys(connections.keys.client_id)
    yield connections
    connections.renew_keys()


@pytest.fixture
def faulty(connections: LocalStack) -> Iterator[LocalStack]:
    """Faults may be put in force; they end with the test."""
    yield connections
    connections.bloq.clear_faults()


@pytest.mark.parametrize("make", EVERY_WAY)
def test_refused_keys_fail_a_task_at_once_after_one_more_reading(
    make: Callable[[], Any], refused: LocalStack, run_dag: RunDag
) -> None:
    before, reads = refused.bloq.counters(), refused.key_reads()
    assert outcome(run_dag(make())) == ("failed", 1)
    after = refused.bloq.counters()
    assert refused.key_reads() - reads == 2
    assert (after.mints_refused - before.mints_refused, after.mints - before.mints) == (1, 0)
    assert dict(after.calls).get("nodes GET /users/me/nodes") == before.calls.get("nodes GET /users/me/nodes")


@pytest.mark.parametrize("make", EVERY_WAY)
def test_a_wrong_setting_fails_a_task_at_once(
    make: Callable[[], Any], connections: LocalStack, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_BLOQ_DEFAULT", '{"conn_type": "bloq", "extra": {"vault_path": "data/x", "timeout": -1}}'
    )
    before = connections.bloq.counters()
    assert outcome(run_dag(make())) == ("failed", 1)
    assert connections.bloq.counters().calls == before.calls


@pytest.mark.parametrize("make", [by_operator, by_hook, by_async_hook])
def test_a_service_that_is_down_for_long_is_left_to_airflows_retry(
    make: Callable[[], Any], faulty: LocalStack, run_dag: RunDag
) -> None:
    # Longer than the hook itself would wait.
    fault = faulty.bloq.add_fault(
        Fault(kind=FaultKind.STATUS, service="nodes", method="GET", path="/users/me/nodes", retry_after=3_600)
    )
    assert outcome(run_dag(make())) == ("success", 2)
    assert faulty.bloq.faults_struck()[fault] == 1


def test_a_quota_that_is_used_up_fails_an_operator_at_once(faulty: LocalStack, run_dag: RunDag) -> None:
    faulty.bloq.add_fault(
        Fault(kind=FaultKind.LIMIT_EXCEEDED, service="nodes", method="POST", path="/users/me/nodes")
    )
    assert outcome(run_dag(create_by_operator()), "create") == ("failed", 1)


def test_a_create_whose_answer_is_lost_is_not_repeated(faulty: LocalStack, run_dag: RunDag) -> None:
    before = creates(faulty)
    faulty.bloq.add_fault(
        Fault(kind=FaultKind.LOST_RESPONSE, service="nodes", method="POST", path="/users/me/nodes")
    )
    assert outcome(run_dag(create_by_operator()), "create") == ("failed", 1)
    assert creates(faulty) - before == 1


def creates(stack: LocalStack) -> int:
    return stack.bloq.counters().calls.get("nodes POST /users/me/nodes", 0)


def outcome(run: Any, task_id: str | None = None) -> tuple[str, int]:
    (task,) = (task for task in run.get_task_instances() if task_id in (None, task.task_id))
    return task.state, task.try_number
