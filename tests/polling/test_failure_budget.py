"""Which failed polls a wait tolerates, and how long it pauses after one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from airflow_provider_bloq.exceptions import (
    BloqCertificateError,
    BloqClientKeysRejected,
    BloqConfigurationError,
    BloqError,
    BloqNotFound,
    BloqRateLimited,
    BloqRpcError,
    BloqUnavailable,
    BloqVaultUnavailable,
)
from airflow_provider_bloq.nodes.conditions import NodeList
from airflow_provider_bloq.polling.conditions import Condition, Failed, Memory, Met, Target, Verdict, Waiting
from airflow_provider_bloq.polling.poll import FailureBudget, is_transient, pause_after

pytestmark = pytest.mark.logic

AWAY = BloqUnavailable("away")


@dataclass(frozen=True)
class Counted(Condition):
    """Holds at the look of that number, and remembers how many there were."""

    kind: ClassVar[str] = "counted"

    wanted: int

    @property
    def target(self) -> Target:
        return NodeList()

    def judge(self, seen: Any, memory: Memory | None) -> Verdict:
        looks = (memory or {"looks": 0})["looks"] + 1
        return Met(seen) if looks == self.wanted else Waiting(f"look {looks}", {"looks": looks})


def test_a_wait_hands_on_what_each_look_must_remember() -> None:
    budget = FailureBudget(Counted(3))
    assert [budget.succeeded(1), budget.succeeded(2)] == [
        Waiting("look 1", {"looks": 1}),
        Waiting("look 2", {"looks": 2}),
    ]
    assert budget.reason == "look 2"
    assert budget.succeeded("three") == Met("three")


def test_a_wait_goes_on_with_what_was_remembered_elsewhere() -> None:
    assert FailureBudget(Counted(3), {"looks": 2}).succeeded("three") == Met("three")


def test_a_failed_look_takes_nothing_from_the_memory() -> None:
    budget = FailureBudget(Counted(2))
    budget.succeeded(1)
    budget.failed(AWAY)
    assert budget.succeeded("two") == Met("two")


def test_so_many_failures_in_a_row_are_borne_and_one_more_is_not() -> None:
    for limit in [0, 1, 5]:
        budget = FailureBudget(Counted(100), max_failures=limit)
        assert all(isinstance(budget.failed(AWAY), Waiting) for _ in range(limit))
        assert budget.failed(AWAY) == Failed(AWAY)


def test_a_look_that_succeeds_begins_the_count_anew() -> None:
    budget = FailureBudget(Counted(100), max_failures=1)
    for _ in range(5):
        assert isinstance(budget.failed(AWAY), Waiting)
        budget.succeeded(1)
    assert budget.failures == 0


def test_failures_before_are_counted() -> None:
    assert FailureBudget(Counted(1), failures=5, max_failures=5).failed(AWAY) == Failed(AWAY)


def test_what_cannot_pass_is_not_borne() -> None:
    gone = BloqNotFound("gone")
    assert FailureBudget(Counted(1)).failed(gone) == Failed(gone)


def test_which_errors_may_pass() -> None:
    for error, passes in [
        (BloqUnavailable("away"), True),
        (BloqVaultUnavailable("sealed"), True),
        (BloqRateLimited("slowly"), True),
        (BloqRateLimited("slowly", retry_after=1.0), True),
        (BloqRpcError(-32000, "header not found"), True),
        (BloqRpcError(-32005, "limit exceeded"), True),
        (BloqRpcError(-32601, "no such method"), False),
        (BloqNotFound("gone"), False),
        (BloqClientKeysRejected("refused"), False),
        (BloqCertificateError("another"), False),
        (BloqConfigurationError.of("host", "it is none", "Correct it."), False),
        (BloqError("something"), False),
        (ValueError("a bug"), False),
    ]:
        assert is_transient(error) is passes


def test_pauses_double_up_to_a_minute() -> None:
    for failures, least, most in [
        (1, 0.5, 1.0),
        (2, 1.0, 2.0),
        (3, 2.0, 4.0),
        (7, 30.0, 60.0),
        (10_000, 30.0, 60.0),
    ]:
        assert pause_after(failures, AWAY, random=lambda: 0.0) == least
        assert pause_after(failures, AWAY, random=lambda: 1.0) == most


def test_a_pause_is_at_least_what_the_service_asks_for() -> None:
    for told, least, most in [(0.0, 0.5, 1.0), (120.0, 120.0, 150.0), (1e9, 3600.0, 3600.0)]:
        error = BloqRateLimited("slowly", retry_after=told)
        assert least <= pause_after(1, error, random=lambda: 0.0)
        assert pause_after(1, error, random=lambda: 1.0) <= most


def test_a_wait_tells_for_how_long_to_let_the_service_be() -> None:
    budget = FailureBudget(Counted(100))
    assert (budget.pause, budget.retry_after) == (0.0, 0.0)
    budget.failed(AWAY)
    assert budget.pause > 0.0
    assert budget.retry_after == 0.0
    budget.failed(BloqRateLimited("too many", retry_after=300.0))
    assert 300.0 <= budget.retry_after <= 330.0
    assert budget.pause == budget.retry_after
    budget.failed(BloqRateLimited("too many"))
    assert budget.retry_after == 0.0
    budget.succeeded("something")
    assert (budget.pause, budget.retry_after) == (0.0, 0.0)
