"""The token ladder with an injected clock and a scripted Accounts: what it costs, and when it gives up."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider
from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqClientKeysRejected,
    BloqRateLimited,
    BloqUnavailable,
    BloqVaultUnavailable,
)
from airflow_provider_bloq.flow.effects import Response
from tests.support.scripted_bloq import MINUTE, RotatingKeys, ScriptedBloq

pytestmark = pytest.mark.logic

Call = Callable[..., Response]


def test_fifty_calls_in_150_minutes_cost_one_reading_one_mint_and_two_refreshes(
    bloq: ScriptedBloq, source: RotatingKeys, call: Call
) -> None:
    for _ in range(50):
        assert call().status == 200
        bloq.time += 3 * MINUTE
    assert (source.loads, bloq.mints, bloq.refreshes, bloq.calls) == (1, 1, 2, 50)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refused_refresh_token_costs_one_more_mint_and_is_not_shown_again(
    bloq: ScriptedBloq, source: RotatingKeys, call: Call, status: int
) -> None:
    call()
    bloq.accounts_answers.append(Response(status, body=b"no"))
    bloq.time += 61 * MINUTE
    assert call().status == 200
    assert bloq.grants == ["clientCredentials", "refreshToken", "clientCredentials"]
    assert source.loads == 1


def test_a_new_refresh_token_of_a_reply_is_taken(bloq: ScriptedBloq, call: Call) -> None:
    bloq.rotates = True
    for _ in range(4):
        assert call().status == 200
        bloq.time += 61 * MINUTE
    assert (bloq.mints, bloq.refreshes) == (1, 3)


def test_refresh_and_keys_refused_end_the_climb_after_three_grants(
    bloq: ScriptedBloq, source: RotatingKeys, call: Call
) -> None:
    call()
    bloq.good_ids, bloq.good_refresh = set(), set()
    bloq.time += 61 * MINUTE
    with pytest.raises(BloqClientKeysRejected):
        call()
    assert bloq.grants == ["clientCredentials", "refreshToken", "clientCredentials"]
    assert source.loads == 2


def test_a_needed_token_that_meets_5xx_raises_after_patience(bloq: ScriptedBloq, call: Call) -> None:
    call()
    bloq.time += 61 * MINUTE
    bloq.accounts_fault = Response(503)
    with pytest.raises(BloqUnavailable):
        call()
    assert bloq.grants[1:] == ["refreshToken"] + ["clientCredentials"] * 5
    assert len(bloq.slept) == 4
    bloq.accounts_fault = None
    assert call().status == 200
    assert (bloq.mints, bloq.refreshes) == (2, 0)


def test_an_early_renewal_that_fails_is_swallowed_and_pauses_half_a_minute(
    bloq: ScriptedBloq, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    call()
    bloq.time += 56 * MINUTE
    bloq.accounts_fault = Response(503)
    for _ in range(5):
        assert call().status == 200
    assert bloq.grants[1:] == ["refreshToken", "clientCredentials"]
    assert "early renewal failed" in caplog.text
    bloq.time += 29
    call()
    assert len(bloq.grants) == 3
    bloq.time += 1
    call()
    assert len(bloq.grants) == 4
    assert bloq.slept == []


def test_an_early_renewal_does_not_come_back_before_accounts_allows(bloq: ScriptedBloq, call: Call) -> None:
    call()
    bloq.time += 56 * MINUTE
    bloq.accounts_fault = Response(429, {"retry-after": "120"})
    call()
    bloq.time += 119
    call()
    assert len(bloq.grants) == 2
    bloq.time += 1
    call()
    assert len(bloq.grants) == 3


def test_whatever_an_early_renewal_meets_a_living_token_serves_on(
    bloq: ScriptedBloq, source: RotatingKeys, call: Call
) -> None:
    call()
    bloq.good_refresh.clear()
    bloq.good_ids.clear()
    source.failure = RuntimeError("the connection is gone")
    bloq.time += 56 * MINUTE
    assert call().status == 200
    bloq.time += 5 * MINUTE
    with pytest.raises(RuntimeError):
        call()


def test_retry_after_is_obeyed_at_the_token_endpoint(bloq: ScriptedBloq, call: Call) -> None:
    bloq.accounts_answers.extend([Response(429, {"retry-after": "7"})] * 2)
    assert call().status == 200
    assert len(bloq.slept) == 2
    assert all(7 <= pause <= 8 for pause in bloq.slept)


def test_a_retry_after_that_is_longer_than_a_worker_waits_is_told_to_the_caller(
    bloq: ScriptedBloq, call: Call
) -> None:
    bloq.accounts_fault = Response(429, {"retry-after": "600"})
    with pytest.raises(BloqRateLimited) as refusal:
        call()
    assert refusal.value.retry_after == 600
    assert bloq.slept == []


def test_rotated_keys_cost_one_more_reading_and_one_more_mint(
    bloq: ScriptedBloq,
    source: RotatingKeys,
    call: Call,
    provider: ClientKeysTokenProvider,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    call()
    source.rotate(8)
    bloq.good_ids, bloq.good_refresh = {"id-8"}, set()
    bloq.time += 61 * MINUTE
    assert call().status == 200
    assert (source.loads, bloq.mints) == (2, 2)
    assert "Client keys version 7 -> 8" in caplog.text
    assert provider.key_version == 8


def test_a_new_version_of_equal_keys_is_tried(bloq: ScriptedBloq, source: RotatingKeys, call: Call) -> None:
    call()
    source.reading = type(source.reading)(source.reading.keys, 8)
    bloq.good_refresh.clear()
    bloq.accounts_answers.extend([Response(401), Response(401)])
    bloq.time += 61 * MINUTE
    assert call().status == 200
    assert source.loads == 2


def test_changed_keys_without_a_version_are_told_as_such(
    bloq: ScriptedBloq, source: RotatingKeys, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    source.reading = type(source.reading)(source.reading.keys, None)
    call()
    source.rotate(None)
    bloq.good_ids, bloq.good_refresh = {"id-new"}, set()
    bloq.time += 61 * MINUTE
    assert call().status == 200
    assert "Client keys changed in a test's keys" in caplog.text


def test_refused_keys_are_read_again_exactly_once(
    bloq: ScriptedBloq, source: RotatingKeys, call: Call
) -> None:
    bloq.good_ids = set()
    with pytest.raises(BloqClientKeysRejected, match=r"id-7.*a test's keys.*version 7") as refusal:
        call()
    assert source.loads == 2
    assert bloq.grants == ["clientCredentials"]
    assert not refusal.value.retryable
    assert "secret-7" not in repr(refusal.value)


def test_new_keys_that_are_refused_as_well_end_the_climb(
    bloq: ScriptedBloq, source: RotatingKeys, call: Call
) -> None:
    call()
    source.rotate(8)
    bloq.good_ids, bloq.good_refresh = set(), set()
    bloq.time += 61 * MINUTE
    with pytest.raises(BloqClientKeysRejected, match="id-8"):
        call()
    assert source.loads == 2
    assert bloq.grants[1:] == ["refreshToken", "clientCredentials", "clientCredentials"]


def test_a_source_that_fails_is_an_error_and_asked_again_at_the_next_call(
    bloq: ScriptedBloq, source: RotatingKeys, call: Call
) -> None:
    source.failure = BloqVaultUnavailable("sealed")
    with pytest.raises(BloqVaultUnavailable):
        call()
    source.failure = None
    assert call().status == 200


def test_a_mint_that_fails_for_another_reason_says_nothing_of_the_keys(
    bloq: ScriptedBloq, source: RotatingKeys, call: Call
) -> None:
    bloq.accounts_fault = Response(400, body=b'{"code": "InvalidBody"}')
    with pytest.raises(BloqApiError, match="answered 400"):
        call()
    assert source.loads == 1


def test_every_token_and_key_is_masked_at_once(bloq: ScriptedBloq, call: Call) -> None:
    bloq.rotates = True
    call()
    bloq.time += 61 * MINUTE
    call()
    shown = {request.headers["Authorization"].removeprefix("Bearer ") for request in bloq.sent}
    assert {"secret-7", "refresh-1-0", "refresh-1-1"} | shown == set(bloq.masked)
