"""Which failed tasks are tried again, and when; and that operators have the policy unless told otherwise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, RetryAction
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_bloq import exceptions as errors
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqRateLimited, BloqUnavailable
from airflow_provider_bloq.flow.backoff import Advice, BackoffSettings, advice_on
from airflow_provider_bloq.hooks.retries import BloqRetryPolicy
from airflow_provider_bloq.operators.nodes import BloqDeleteNodeOperator, BloqListNodesOperator

BACKOFF = BackoffSettings(first=10.0, cap=100.0, max_retry_after=1000.0)

NO_HELP = [
    errors.BloqClientKeysRejected("refused"),
    errors.BloqTokenRejected("refused"),
    errors.BloqConfigurationError.of("timeout", "it is -1", "Give seconds."),
    errors.BloqQuotaExceeded("full", status=403),
    errors.BloqNotFound("gone", status=404),
    errors.BloqCertificateError("another one"),
    errors.BloqUnsafeAddress("link-local"),
    errors.BloqApiError("wrong", status=400),
    errors.BloqAmbiguousCreate("which?"),
    errors.BloqTransactionReverted("reverted", tx_hash="0x1", height=1, block_hash="0x2"),
    errors.BloqRpcError(-32601, "no such method"),
    errors.BloqRpcError(-32602, "odd parameters"),
    errors.BloqCallsFailed([(3, errors.BloqRpcError(-32602, "odd parameters"))], total=9),
]
MAY_PASS = [
    BloqUnavailable("down", status=503),
    BloqUnavailable("no answer"),
    BloqRateLimited("slower", status=429),
    errors.BloqVaultUnavailable("sealed"),
    errors.BloqReorg(1, 2),
    errors.BloqRpcError(-32005, "too many requests"),
]
LEFT_TO_THE_TASK = [
    ValueError("the author's own"),
    KeyboardInterrupt(),
    errors.BloqApiError("another update is running", status=409),
    errors.BloqWaitTimeout("not yet started"),
    errors.BloqRpcError(-32000, "header not found"),
    errors.BloqRpcError(3, "execution reverted"),
    errors.BloqCallsFailed([(0, errors.BloqRpcError(-32000, "header not found"))], total=2),
]


def names(cases: Sequence[BaseException]) -> list[str]:
    return [f"{type(case).__name__}-{getattr(case, 'code', None)}" for case in cases]


@pytest.mark.parametrize("error", NO_HELP, ids=names(NO_HELP))
def test_what_would_end_the_same_way_fails_at_once(error: BaseException) -> None:
    advice = advice_on(error, 1, 0.5, BACKOFF)
    assert advice is not None
    assert advice.pause is None
    assert advice.reason


@pytest.mark.parametrize("error", MAY_PASS, ids=names(MAY_PASS))
def test_what_may_pass_is_tried_again_later_and_later(error: BaseException) -> None:
    assert [pause_of(error, try_number, jitter=1.0) for try_number in (1, 2, 3, 4, 5, 6)] == [
        10.0,
        20.0,
        40.0,
        80.0,
        100.0,
        100.0,
    ]


@pytest.mark.parametrize("error", LEFT_TO_THE_TASK, ids=names(LEFT_TO_THE_TASK))
def test_what_is_not_known_better_is_left_to_the_task(error: BaseException) -> None:
    assert advice_on(error, 1, 0.5, BACKOFF) is None
    assert BloqRetryPolicy().evaluate(error, 1, 3).action is RetryAction.DEFAULT


@pytest.mark.parametrize("try_number", [-1, 0, 1, 7, 10_000])
def test_half_of_a_pause_is_jitter_whatever_the_number_of_the_try(try_number: int) -> None:
    longest = BACKOFF.pause(try_number, 1.0)
    assert longest <= BACKOFF.cap
    assert BACKOFF.pause(try_number, 0.0) == longest / 2


@pytest.mark.parametrize(
    ("told", "earliest", "latest"),
    [
        (0.0, 0.0, 0.0),
        (50.0, 50.0, 55.0),
        (900.0, 900.0, 930.0),
        (990.0, 990.0, 1000.0),
        (5000.0, 1000.0, 1000.0),
    ],
)
def test_the_service_says_how_long_to_wait(told: float, earliest: float, latest: float) -> None:
    error = BloqRateLimited("slower", retry_after=told)
    assert pause_of(error, 1, jitter=0.0) == earliest
    assert pause_of(error, 9, jitter=1.0) == latest


def test_the_quota_is_named_as_the_reason() -> None:
    advice = advice_on(errors.BloqQuotaExceeded("full"), 1, 0.5, BACKOFF)
    assert advice is not None
    assert "a limit of its plan" in advice.reason


def test_the_decision_is_one_that_airflow_knows() -> None:
    policy = BloqRetryPolicy()
    failed = policy.evaluate(errors.BloqNotFound("gone"), 1, 3)
    assert (failed.action, failed.retry_delay) == (RetryAction.FAIL, None)
    again = policy.evaluate(BloqRateLimited("slower", retry_after=60), 1, 3)
    assert again.action is RetryAction.RETRY
    assert again.retry_delay is not None
    assert timedelta(seconds=60) <= again.retry_delay <= timedelta(seconds=66)
    assert again.reason == "The service asks to wait 60 s."


def test_no_two_tasks_come_back_at_the_same_time() -> None:
    delays = {BloqRetryPolicy().evaluate(BloqUnavailable("down"), 1, 3).retry_delay for _ in range(20)}
    assert len(delays) == 20


@pytest.mark.parametrize("field", ["first", "cap", "max_retry_after"])
@pytest.mark.parametrize("value", [0, -1.0, True, "60", None, float("inf"), float("nan")])
def test_what_is_no_time_is_refused(field: str, value: Any) -> None:
    with pytest.raises(BloqConfigurationError) as wrong:
        BloqRetryPolicy(**{field: value})
    assert wrong.value.fields == (field,)


def test_a_policy_can_be_written_and_read() -> None:
    policy = BloqRetryPolicy(first=1, cap=2, max_retry_after=3)
    assert BloqRetryPolicy.deserialize(policy.serialize()) == policy


def test_operators_have_the_policy_mapped_ones_too() -> None:
    with DAG("policies") as dag:
        BloqListNodesOperator(task_id="plain")
        BloqListNodesOperator(task_id="without", retry_policy=None)
        BloqDeleteNodeOperator.partial(task_id="mapped").expand(node=["node-1"])
        BloqDeleteNodeOperator.partial(task_id="mapped_without", retry_policy=None).expand(node=["node-1"])
    with_policy = {task_id: has_policy(dag.get_task(task_id)) for task_id in dag.task_ids}
    assert with_policy == {"plain": True, "without": False, "mapped": True, "mapped_without": False}
    # The scheduler is told so much, and no more.
    written = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert {task.task_id: task.has_retry_policy for task in written.tasks} == with_policy


def test_the_policy_of_a_dag_comes_before_that_of_the_provider() -> None:
    own = BloqRetryPolicy(first=1)
    with DAG("own_policy", default_args={"retry_policy": own}) as dag:
        BloqListNodesOperator(task_id="plain")
        BloqDeleteNodeOperator.partial(task_id="mapped").expand(node=["node-1"])
        BloqListNodesOperator(task_id="without", retry_policy=None)
    policies = {task_id: unmapped(dag.get_task(task_id)).retry_policy for task_id in dag.task_ids}
    assert policies == {"plain": own, "mapped": own, "without": None}


#: Makes the installed core look like one that has no retry policies: names are imported lazily from a table.
AN_OLDER_CORE = """
import airflow.sdk
for name in ("RetryPolicy", "RetryDecision"):
    del vars(airflow.sdk)["__lazy_imports"][name]
from airflow.sdk import DAG
from airflow_provider_bloq.hooks.retries import DEFAULT_POLICY, BloqRetryPolicy, policy_argument
from airflow_provider_bloq.operators.nodes import BloqListNodesOperator
assert DEFAULT_POLICY is None
assert policy_argument(None) == {}
with DAG("old"):
    assert BloqListNodesOperator(task_id="list").retry_policy is None
assert BloqRetryPolicy(first=5).serialize()["first"] == 5
print("works")
"""


def test_without_policies_in_the_core_operators_pass_none_on() -> None:
    done = subprocess.run([sys.executable, "-c", AN_OLDER_CORE], capture_output=True, text=True, check=False)
    assert done.stdout.endswith("works\n"), done.stderr


def pause_of(error: BaseException, try_number: int, jitter: float) -> float | None:
    advice = advice_on(error, try_number, jitter, BACKOFF)
    assert isinstance(advice, Advice)
    return advice.pause


def unmapped(task: Any) -> Any:
    return task.unmap({"node": "node-1"}) if hasattr(task, "unmap") else task


def has_policy(task: Any) -> bool:
    in_the_dag, in_the_worker = task.retry_policy is not None, unmapped(task).retry_policy is not None
    assert in_the_dag == in_the_worker
    return in_the_dag
