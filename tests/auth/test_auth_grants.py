"""What answers of Accounts say of the refresh token and of the client keys, and what they do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqClientKeysRejected,
    BloqQuotaExceeded,
    BloqRateLimited,
    BloqUnavailable,
)
from airflow_provider_bloq.flow.effects import Response
from tests.support.scripted_bloq import MINUTE, RotatingKeys, ScriptedBloq

pytestmark = pytest.mark.logic

Call = Callable[..., Response]


@pytest.mark.parametrize(
    "answer",
    [
        Response(500, body=b'{"code": "InternalError", "message": "jwt malformed"}'),
        Response(503),
        Response(408),
        Response(302),
        Response(200, body=b'{"token": "x"}'),
        Response(200, body=b"<html>hi</html>"),
        Response(204),
    ],
    ids=["500", "503", "408", "302", "no token", "page", "empty"],
)
def test_whatever_a_refresh_is_answered_without_a_token_the_client_keys_get_their_turn(
    bloq: ScriptedBloq, call: Call, answer: Response
) -> None:
    call()
    bloq.accounts_answers.append(answer)
    bloq.revoked.add(bloq.sent[-1].headers["Authorization"].removeprefix("Bearer "))
    assert call().status == 200
    assert bloq.grants == ["clientCredentials", "refreshToken", "clientCredentials"]
    assert bloq.slept == []


def test_a_refresh_that_gets_no_answer_says_nothing_of_the_refresh_token(
    bloq: ScriptedBloq, call: Call
) -> None:
    call()
    bloq.time += 61 * MINUTE
    bloq.is_cut_off = True
    with pytest.raises(BloqUnavailable, match="no way"):
        call()
    assert len(bloq.slept) == 4
    bloq.is_cut_off = False
    assert call().status == 200
    assert bloq.grants == ["clientCredentials", "refreshToken"]


def test_a_refresh_that_comes_too_often_keeps_the_refresh_token(bloq: ScriptedBloq, call: Call) -> None:
    call()
    bloq.time += 61 * MINUTE
    bloq.accounts_fault = Response(429, {"retry-after": "600"})
    with pytest.raises(BloqRateLimited):
        call()
    bloq.accounts_fault = None
    assert call().status == 200
    assert bloq.grants == ["clientCredentials", "refreshToken", "refreshToken"]


PAGE = Response(403, {"content-type": "text/html"}, b"<html>denied by policy 7</html>")


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (PAGE, BloqUnavailable, None),
        (Response(403), BloqUnavailable, None),
        (Response(403, body=b'"no"'), BloqUnavailable, None),
        (Response(403, body=b'{"code": "LimitExceeded"}'), BloqQuotaExceeded, "LimitExceeded"),
        (Response(403, body=b'{"code": "Forbidden"}'), BloqApiError, "Forbidden"),
        (Response(403, body=b'{"code": "secret7-limit"}'), BloqQuotaExceeded, None),
    ],
    ids=["page", "empty", "text", "limit", "forbidden", "no code"],
)
def test_a_403_that_does_not_speak_of_the_client_keys_says_nothing_against_them(
    bloq: ScriptedBloq,
    source: RotatingKeys,
    call: Call,
    answer: Response,
    kind: type[BloqApiError],
    code: str | None,
) -> None:
    bloq.accounts_fault = answer
    with pytest.raises(BloqApiError) as refusal:
        call()
    assert type(refusal.value) is kind
    assert (refusal.value.status, refusal.value.code) == (403, code)
    assert refusal.value.retryable is (kind is BloqUnavailable)
    assert "policy 7" not in str(refusal.value)
    assert "secret7" not in repr(vars(refusal.value)) + str(refusal.value)
    # It may be how keys are refused all the same, so they were looked for anew.
    assert source.loads == 2
    bloq.accounts_fault = None
    assert call().status == 200


def test_rotated_keys_are_found_also_where_the_old_ones_are_refused_by_a_page(
    bloq: ScriptedBloq, source: RotatingKeys, call: Call
) -> None:
    call()
    source.rotate(8)
    bloq.good_ids = {"id-8"}
    bloq.good_refresh.clear()
    bloq.accounts_answers.extend([Response(401), PAGE])
    bloq.time += 61 * MINUTE
    assert call().status == 200
    assert (source.loads, bloq.mints) == (2, 2)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"message": "no"}', b'{"code": "InvalidCredentials"}', b'{"code": "ClientKeyRevoked"}'],
    ids=["bare", "message", "credentials", "keys"],
)
def test_both_statuses_that_are_documented_refuse_the_client_keys(
    bloq: ScriptedBloq, call: Call, status: int, body: bytes
) -> None:
    bloq.accounts_fault = Response(status, body=body)
    with pytest.raises(BloqClientKeysRejected):
        call()
