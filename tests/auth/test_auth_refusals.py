"""What counts as a refusal of the token, and how it is answered once."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from airflow_provider_bloq.auth.bearer import MAX_REPLACEMENTS, BearerAuth, TrustedOrigins, is_auth_refusal
from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider
from airflow_provider_bloq.exceptions import BloqTokenRejected
from airflow_provider_bloq.flow.effects import Flow, Request, Response, send
from tests.support.scripted_bloq import MINUTE, NODES, RotatingKeys, ScriptedBloq

pytestmark = pytest.mark.logic

Call = Callable[..., Response]


@pytest.mark.parametrize("body", [b"", b"jwt expired", b'"jwt expired"', b'{"code": "LimitExceeded"}'])
def test_a_401_always_refuses_the_token(body: bytes) -> None:
    assert is_auth_refusal(401, body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"jwt expired",
        b"<html><h1>403</h1></html>",
        b"[]",
        b'[{"code": "LimitExceeded"}]',
        b"null",
        b'{"message": "Forbidden"}',
        b'{"code": ""}',
        b'{"code": 403}',
        b'{"code": "TokenExpired"}',
        b'{"code": "invalid_token"}',
        b'{"code": "InvalidCredentials"}',
        b'{"code": "jwt expired"}',
        b'{"code": "Unauthorized"}',
        b'{"code": "UNAUTHORISED"}',
        b"\xff\xfe",
        b"[" * 60_000,
    ],
    ids=lambda body: body[:30].decode("latin-1"),
)
def test_a_403_without_a_code_or_with_one_about_credentials_refuses_the_token(body: bytes) -> None:
    assert is_auth_refusal(403, body)


@pytest.mark.parametrize("code", ["LimitExceeded", "Forbidden", "UserNotVerified", "ServiceDisabled"])
def test_a_403_with_a_business_code_does_not(code: str) -> None:
    assert not is_auth_refusal(403, json.dumps({"status": 403, "code": code}).encode())


@pytest.mark.parametrize("field", ["message", "detail", "title"])
@pytest.mark.parametrize(
    "text",
    [
        "jwt expired",
        "JWT expired",
        "jwt malformed",
        "jwt not active",
        "jwt audience invalid. expected: nodes",
        "invalid token",
        "Invalid access token",
        "invalid signature",
        "Token expired.",
        "The access token has expired",
        "Your token is invalid, log in again",
        "Refused: expired token (exp)",
    ],
)
def test_a_403_whose_words_say_that_the_token_is_no_good_refuses_it(text: str, field: str) -> None:
    body = {"status": 403, "code": "Forbidden", field: text}
    assert is_auth_refusal(403, json.dumps(body).encode())


@pytest.mark.parametrize(
    "text",
    [
        "The token belongs to another account",
        "Only administrators may do this",
        "authType jwt is not allowed on this plan",
        "invalid token address",
        "This account may not issue a token",
        "expired subscription, tokens are not issued",
        "The plan has expired",
        "",
        7,
        ["jwt expired"],
    ],
)
def test_a_403_with_a_business_code_that_says_something_else_does_not(text: object) -> None:
    body = {"code": "Forbidden", "message": text, "detail": text, "other": "jwt expired"}
    assert not is_auth_refusal(403, json.dumps(body).encode())


@pytest.mark.parametrize("status", [200, 201, 204, 302, 400, 404, 407, 409, 429, 500, 503])
def test_no_other_status_does(status: int) -> None:
    assert not is_auth_refusal(status, b'{"code": "TokenExpired"}')


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_refused_request_is_sent_again_with_another_token_and_the_same_body(
    bloq: ScriptedBloq, provider: ClientKeysTokenProvider, call: Call, method: str
) -> None:
    first = bloq.run(provider.token()).secret
    bloq.revoked.add(first.reveal())
    assert call(method=method, body=b'{"n": 1}').status == 200
    refused, repeated = bloq.sent
    assert refused.body == repeated.body == b'{"n": 1}'
    assert refused.headers["Authorization"] == f"Bearer {first.reveal()}"
    assert repeated.headers["Authorization"] != refused.headers["Authorization"]
    assert (bloq.mints, bloq.refreshes) == (1, 1)


def test_a_fourth_refusal_is_an_error_and_not_answered(bloq: ScriptedBloq, call: Call) -> None:
    bloq.service_answers.extend([Response(401)] * 4 + [Response(200)])
    with pytest.raises(BloqTokenRejected) as refusal:
        call(f"{NODES}/x?secret=hush")
    assert bloq.calls == 4
    assert "hush" not in str(refusal.value)
    assert not refusal.value.retryable


def test_a_call_that_is_not_allowed_costs_three_grants_each_time(
    bloq: ScriptedBloq, source: RotatingKeys, call: Call
) -> None:
    call()
    for _ in range(3):
        bloq.service_answers.extend([Response(401)] * 4)
        with pytest.raises(BloqTokenRejected):
            call()
    assert len(bloq.grants) == 1 + 3 * MAX_REPLACEMENTS
    assert source.loads == 1


def test_a_refreshed_token_that_is_refused_at_once_gives_the_client_keys_their_turn(
    bloq: ScriptedBloq, call: Call
) -> None:
    call()
    bloq.service_answers.extend([Response(401), Response(401)])
    assert call().status == 200
    assert bloq.grants == ["clientCredentials", "refreshToken", "clientCredentials"]


def test_keys_rotated_and_everything_revoked_twice_in_one_call_do_not_fail_it(
    bloq: ScriptedBloq, source: RotatingKeys, bearer: BearerAuth
) -> None:
    refused: list[str] = []

    def once(request: Request) -> Flow[Response]:
        # While the request is on its way: the first time the tokens die, the second time the keys as well.
        if len(refused) < 2:
            refused.append(request.headers["Authorization"])
            bloq.revoked.add(request.headers["Authorization"].removeprefix("Bearer "))
            if len(refused) == 2:
                bloq.good_refresh.clear()
                bloq.good_ids = {"id-8"}
                source.rotate(8)
        return (yield from send(request))

    response: Response = bloq.run(bearer.send(Request("POST", NODES, body=b"{}"), once))
    assert response.status == 200
    assert len(set(refused)) == 2


def test_the_same_token_is_not_shown_again(bloq: ScriptedBloq, bearer: BearerAuth, call: Call) -> None:
    call()
    same = Response(200, body=b'{"accessToken": "always-this-one"}')
    bloq.accounts_answers.extend([same] * 3)
    bloq.service_answers.extend([Response(401), Response(401)])
    with pytest.raises(BloqTokenRejected):
        call()
    assert [request.headers["Authorization"] for request in bloq.sent][2:] == ["Bearer always-this-one"]


def test_an_expired_token_that_is_called_forbidden_is_renewed(bloq: ScriptedBloq, call: Call) -> None:
    bloq.service_answers.append(Response(403, body=b'{"code": "Forbidden", "message": "jwt expired"}'))
    assert call(method="POST").status == 200
    assert (bloq.calls, bloq.mints, bloq.refreshes) == (2, 1, 1)


def test_a_business_403_comes_through_as_it_is(bloq: ScriptedBloq, call: Call) -> None:
    bloq.service_answers.append(Response(403, body=b'{"code": "LimitExceeded"}'))
    assert call(method="POST").body == b'{"code": "LimitExceeded"}'
    assert (bloq.calls, bloq.mints, bloq.refreshes) == (1, 1, 0)


def test_an_error_of_the_second_answer_that_is_no_refusal_comes_through(
    bloq: ScriptedBloq, call: Call
) -> None:
    bloq.service_answers.extend([Response(401), Response(500)])
    assert call().status == 500


def test_a_refused_token_that_was_replaced_meanwhile_costs_no_refresh(
    bloq: ScriptedBloq, bearer: BearerAuth, provider: ClientKeysTokenProvider
) -> None:
    request = Request("GET", NODES)
    old = bloq.run(bearer.sign(request))
    new = bloq.run(provider.replace_refused(bloq.run(provider.token()).secret)).secret
    assert bloq.refreshes == 1
    again = bloq.run(bearer.replace_refused(old, Response(401), 0))
    assert again.headers["Authorization"] == f"Bearer {new.reveal()}"
    assert bloq.refreshes == 1


def test_only_the_current_token_is_replaced(
    bloq: ScriptedBloq, provider: ClientKeysTokenProvider, call: Call
) -> None:
    call()
    held = bloq.run(provider.token())
    assert bloq.run(provider.replace_refused(Secret("another"))) is held
    assert (bloq.mints, bloq.refreshes) == (1, 0)


@pytest.mark.parametrize(
    "url",
    [
        f"{NODES}.evil.example/",
        f"{NODES}:8443/",
        NODES.replace("https:", "http:"),
        f"{NODES}@evil.example/",
        "https://evil.example/?https://nodes.example/",
        f"{NODES}\\@evil.example/",
    ],
)
def test_another_origin_gets_no_token_and_its_401_no_answer(bloq: ScriptedBloq, call: Call, url: str) -> None:
    assert call(url).status == 401
    assert [request.headers for request in bloq.sent] == [{}]
    assert bloq.grants == []


def test_an_origin_is_trusted_in_any_spelling_once_it_was_named(
    bloq: ScriptedBloq, provider: ClientKeysTokenProvider
) -> None:
    origins = TrustedOrigins([])
    bearer = BearerAuth(provider, origins)
    request = Request("GET", "HTTPS://Node.Example:443/rpc")
    assert bloq.run(bearer.sign(request)) is request
    origins.add(Origin.of("https://node.example"))
    assert "Authorization" in bloq.run(bearer.sign(request)).headers


def test_requests_and_responses_do_not_show_what_they_carry(bloq: ScriptedBloq, bearer: BearerAuth) -> None:
    signed = bloq.run(bearer.sign(Request("POST", NODES, body=b"hush")))
    token = signed.headers["Authorization"]
    assert token not in repr(signed)
    assert "hush" not in repr(signed)
    assert "hush" not in repr(Response(200, {"x": "hush"}, b"hush"))
    assert token not in repr(bloq.run(bearer.provider.token()))


def test_a_long_poll_outlives_its_tokens(bloq: ScriptedBloq, call: Call) -> None:
    for _ in range(30):
        assert call().status == 200
        bloq.time += 10 * MINUTE
    assert bloq.mints == 1
    assert all(request.headers["Authorization"] for request in bloq.sent)
