"""What a notification can say of an error: plain, short, and without a secret."""

from __future__ import annotations

import json
from typing import Any

import jinja2
import pytest
from airflow.sdk.log import mask_secret

from airflow_provider_bloq import exceptions
from airflow_provider_bloq.exceptions import (
    BloqCallsFailed,
    BloqClientKeysRejected,
    BloqConfigurationError,
    BloqError,
    BloqNotFound,
    BloqRateLimited,
    BloqRpcError,
    BloqTransactionRefused,
)
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.hooks.notifications import summary_of

pytestmark = pytest.mark.logic


def twin_of(error: BloqError) -> BloqError:
    """Return the kind of an error that operators raise in its place."""
    with pytest.raises(BloqError) as raised, raise_as_fail_exception():
        raise error
    return raised.value


def test_a_summary_has_the_fields_of_the_class() -> None:
    limited = BloqRateLimited("slow down", retry_after=30.0, status=429, request_id="r-1")
    assert limited.summary() == {
        "error": "BloqRateLimited",
        "message": "slow down",
        "retryable": True,
        "fields": {
            "retry_after": 30.0,
            "status": 429,
            "code": None,
            "title": None,
            "detail": None,
            "request_id": "r-1",
            "method": None,
            "url": None,
        },
    }


def test_what_is_not_tried_again_goes_by_the_name_of_the_public_class() -> None:
    failure = twin_of(BloqClientKeysRejected("refused"))
    assert type(failure).__name__ == "BloqClientKeysRejectedFailure"
    assert failure.summary()["error"] == "BloqClientKeysRejected"
    assert failure.summary()["error"] in exceptions.__all__


def test_wrong_fields_are_told_with_their_remedies() -> None:
    wrong = BloqConfigurationError.of("port", "it is no number", "Give one.", "connection 'x'")
    problem = {"field": "port", "problem": "it is no number", "remedy": "Give one."}
    assert wrong.summary()["fields"] == {"problems": [problem], "where": "connection 'x'"}


def test_an_instance_may_be_retryable_where_its_class_is_not() -> None:
    refused = BloqTransactionRefused("mempool full", tx_hash="ab")
    refused.retryable = True
    assert (refused.summary()["retryable"], refused.summary()["fields"]) == (True, {"tx_hash": "ab"})


def test_notes_are_no_fields() -> None:
    error = BloqError("odd")
    error.add_note("seen twice")
    assert error.summary()["fields"] == {}


def test_what_a_node_says_is_cut_and_is_json_whatever_it_is() -> None:
    many = [(index, BloqRpcError(3, "m" * 5000, {"bytes": b"x", "n": [1.5] * 99})) for index in range(50)]
    summary = BloqCallsFailed(many, 50).summary()
    failures = summary["fields"]["failures"]
    assert len(failures) == 20
    index, first = failures[0]
    assert (index, first["error"]) == (0, "BloqRpcError")
    assert first["fields"]["message"] == "m" * 999 + "…"
    assert first["fields"]["data"] == {"bytes": "bytes", "n": [1.5] * 20}
    json.dumps(summary)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [(ValueError("odd"), "ValueError", "odd"), ("a text", None, "a text"), (None, None, "")],
)
def test_other_errors_are_told_in_the_same_form(error: object, kind: str | None, message: str) -> None:
    assert summary_of(error) == {"error": kind, "message": message, "retryable": None, "fields": {}}


def test_a_template_needs_no_error_to_be_there() -> None:
    # As Airflow renders, and as it is where a worker was lost.
    strict = jinja2.Environment(undefined=jinja2.StrictUndefined)
    strict.globals["summary_of"] = summary_of
    assert strict.from_string("{{ summary_of(exception).error or 'lost' }}").render() == "lost"


@pytest.mark.parametrize("kind", [BloqNotFound, ValueError])
def test_what_is_masked_in_logs_is_masked_here(kind: Any) -> None:
    secret = "a-token-that-is-masked-93c1"
    mask_secret(secret)
    error = kind(f"refused: {secret}")
    error.url = f"https://host/{secret}"
    told = json.dumps(summary_of(error))
    assert secret not in told
    assert "***" in told
