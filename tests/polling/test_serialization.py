"""Results and errors on their way from the triggerer to the task."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_bloq import exceptions
from airflow_provider_bloq.exceptions import (
    BloqAmbiguousCreate,
    BloqApiError,
    BloqConfigurationError,
    BloqError,
    BloqForeignEvent,
    BloqNotFound,
    BloqNotStarted,
    BloqRateLimited,
    BloqReorg,
    BloqRpcError,
    BloqTransactionDropped,
    BloqTransactionReverted,
    BloqUnavailable,
    BloqUpdateNotDone,
    BloqWaitTimeout,
    FieldProblem,
)
from airflow_provider_bloq.hooks._failures import (
    BloqConfigurationFailure,
    BloqTransactionRevertedFailure,
    raise_as_fail_exception,
)
from airflow_provider_bloq.polling.serialization import (
    error_from_json,
    error_to_json,
    failed_event,
    met_event,
    result_of,
    timeout_event,
)

pytestmark = pytest.mark.logic

ERRORS = [
    BloqError("something"),
    BloqConfigurationError([FieldProblem("a", "is wrong", "Mend it."), FieldProblem("b", "too", "As well.")]),
    BloqNotFound(
        "gone", status=404, code="NotFound", method="GET", url="https://nodes.example/users/me/nodes"
    ),
    BloqRateLimited("slowly", retry_after=12.5, status=429),
    BloqUnavailable("away", acted=False),
    BloqAmbiguousCreate("which?", candidates=["node-1", "node-2"]),
    BloqRpcError(-32000, "header not found", {"height": [1, 2]}, "eth_getBlockByNumber"),
    BloqNotStarted("stopped", node_id="node-1"),
    BloqUpdateNotDone("aborted", cluster_id="cluster-1"),
    BloqTransactionReverted("reverted", tx_hash="0x1", height=7, block_hash="0x2"),
    BloqTransactionDropped("dropped", tx_hash="0x1"),
    BloqReorg(3, 5),
]


def stored(event: dict[str, Any]) -> Any:
    """Return an event as it comes out of Airflow's database."""
    return json.loads(json.dumps(event))


def test_an_error_comes_back_in_its_class_and_with_its_fields() -> None:
    for error in ERRORS:
        again = error_from_json(stored(error_to_json(error)))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_the_result_comes_back() -> None:
    for result in [None, 0, "text", {"id": "node-1", "ids": [1, 2]}]:
        assert result_of(stored(met_event(result))) == result


def test_an_error_that_no_retry_can_help_is_raised_as_airflows_too() -> None:
    with pytest.raises(BloqTransactionRevertedFailure) as failure:
        result_of(stored(failed_event(ERRORS[9])))
    assert isinstance(failure.value, AirflowFailException)
    assert failure.value.height == 7


def test_an_error_that_a_retry_may_help_is_not() -> None:
    with pytest.raises(BloqUnavailable) as failure:
        result_of(stored(failed_event(BloqUnavailable("away"))))
    assert not isinstance(failure.value, AirflowFailException)


def test_an_error_that_is_airflows_already_is_written_as_bloqs() -> None:
    with pytest.raises(BloqConfigurationFailure) as failure, raise_as_fail_exception():
        raise BloqConfigurationError.of("host", "it is none", "Correct it.")
    written = error_to_json(failure.value)
    assert written["type"] == "BloqConfigurationError"
    with pytest.raises(BloqConfigurationFailure) as again:
        result_of(stored(failed_event(failure.value)))
    assert again.value.fields == ("host",)


def test_the_end_of_the_time_is_an_error_with_what_was_missing() -> None:
    with pytest.raises(BloqWaitTimeout, match="node-1 is 'starting'"):
        result_of(stored(timeout_event("node-1 is 'starting'")))


def test_what_is_no_event_of_this_version_is_an_error_that_a_retry_may_help() -> None:
    for event in [
        None,
        "met",
        {},
        {"status": "met"},
        {"status": "done", "result": 1},
        {"status": "failed"},
        {"status": "failed", "error": "text"},
        {"status": "failed", "error": {"type": "BloqNotFound"}},
        {"status": "timeout", "reason": None},
    ]:
        with pytest.raises(BloqForeignEvent) as failure:
            result_of(event)
        assert failure.value.retryable


def test_the_contents_of_a_foreign_event_are_not_shown() -> None:
    with pytest.raises(BloqForeignEvent) as failure:
        result_of({"status": "done", "token": "canary"})
    assert "canary" not in str(failure.value)


def test_a_class_that_this_version_lacks_becomes_the_root_of_all() -> None:
    for name in ["BloqOfTheFuture", "FieldProblem", "Any", "__name__"]:
        error = error_from_json({"type": name, "args": ["what happened"], "fields": {"height": 7}})
        assert type(error) is BloqError
        assert str(error) == f"{name}: what happened"


def test_every_error_that_can_be_made_of_a_message_alone_comes_back() -> None:
    kinds = [
        kind
        for kind in vars(exceptions).values()
        if isinstance(kind, type)
        and issubclass(kind, BloqError)
        and kind.__init__ in (BloqError.__init__, BloqApiError.__init__, Exception.__init__)
    ]
    assert len(kinds) >= 8
    for kind in kinds:
        assert type(error_from_json(stored(error_to_json(kind("a message"))))) is kind
