"""Login, both grants, and what tokens open and for how long."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import jwt
import pytest

from airflow_provider_bloq.testing.local import LocalBloq
from tests.local_service.service_caller import Caller

Start = Callable[..., LocalBloq]


def _claims(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def test_login_by_email_or_by_user_id_gives_an_account_token(caller: Caller) -> None:
    for user in (caller.account.email, caller.account.id):
        answer = caller.accounts("POST", "/auth", auth=(user, caller.account.password))
        assert answer.status_code == 200
        assert list(answer.json()) == ["accessToken"]


def test_a_wrong_password_is_answered_401_with_a_code(caller: Caller) -> None:
    answer = caller.accounts("POST", "/auth", auth=(caller.account.email, "wrong"))
    assert answer.status_code == 401
    assert answer.json()["code"] == "InvalidCredentials"
    assert caller.bloq.counters().logins_refused == 1


def test_tokens_are_rs256_with_the_claims_of_their_kind(caller: Caller) -> None:
    minted = caller.mint()
    account, access, refresh = caller.log_in(), minted["accessToken"], minted["refreshToken"]
    assert jwt.get_unverified_header(access)["alg"] == "RS256"
    lives = {
        name: _claims(t)["exp"] - _claims(t)["iat"]
        for name, t in (("a", account), ("c", access), ("r", refresh))
    }
    assert lives == {"a": 43_200, "c": 3_600, "r": 31_536_000}
    assert _claims(access)["aud"] == ["nodes", "connect"]
    assert "accounts" in _claims(account)["aud"]
    assert "manager" not in _claims(account)["aud"]
    assert {_claims(t)["sub"] for t in (account, access, refresh)} == {caller.account.id}


def test_only_a_managers_account_token_names_manager_in_aud(bloq: LocalBloq) -> None:
    manager = Caller.of(bloq, manager=True)
    assert "manager" in _claims(manager.log_in())["aud"]
    assert "manager" not in _claims(manager.access_token())["aud"]


def test_a_mint_answers_both_tokens_and_no_lifetime(caller: Caller) -> None:
    assert set(caller.mint()) == {"accessToken", "refreshToken"}


def test_the_lifetime_is_returned_when_switched_on(start: Start) -> None:
    assert Caller.of(start(emit_expires_in=True, access_token_seconds=77)).mint()["expiresIn"] == 77


def test_a_refresh_answers_an_access_token_only_and_may_be_repeated(caller: Caller) -> None:
    refresh = caller.mint()["refreshToken"]
    for _ in range(2):
        assert set(caller.refresh(refresh).json()) == {"accessToken"}
    assert caller.bloq.counters().refreshes == 2


def test_a_rotating_refresh_ends_the_old_refresh_token(start: Start) -> None:
    caller = Caller.of(start(rotate_refresh=True))
    old = caller.mint()["refreshToken"]
    new = caller.refresh(old).json()["refreshToken"]
    assert caller.refresh(old).status_code == 401
    assert caller.refresh(new).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"grantType": "clientCredentials", "clientId": "0" * 40, "clientSecret": "0" * 80},
        {"grantType": "clientCredentials"},
        {"grantType": "refreshToken", "refreshToken": "nonsense"},
        {"grantType": "refreshToken"},
    ],
)
def test_wrong_keys_and_refresh_tokens_are_answered_401(caller: Caller, body: dict[str, Any]) -> None:
    answer = caller.grant(**body)
    assert answer.status_code == 401
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json()["status"] == 401
    assert answer.json()["code"] == "InvalidCredentials"
    assert answer.json()["title"] == "Unauthorized"
    counters = caller.bloq.counters()
    assert counters.mints_refused + counters.refreshes_refused == 1


def test_an_access_token_is_not_accepted_as_a_refresh_token(caller: Caller) -> None:
    assert caller.refresh(caller.access_token()).status_code == 401


def test_an_unknown_grant_is_answered_400(caller: Caller) -> None:
    for body in ({}, {"grantType": "password"}, {"grantType": None}):
        answer = caller.grant(**body)
        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidGrantType")


def test_a_body_that_is_not_a_json_object_is_answered_400(caller: Caller) -> None:
    for data in (b"", b"[object Object]", b"[1]", b"grantType=refreshToken"):
        assert caller.accounts("POST", "/auth/token", data=data).status_code == 400


def test_a_stray_expired_bearer_does_not_disturb_a_mint(caller: Caller) -> None:
    expired = caller.log_in()
    caller.bloq.advance_clock(43_201)
    body = {
        "grantType": "clientCredentials",
        "clientId": caller.keys.client_id,
        "clientSecret": caller.keys.client_secret,
    }
    assert caller.accounts("POST", "/auth/token", expired, json=body).status_code == 200


def test_deleted_keys_take_their_refresh_tokens_along_but_not_their_access_tokens(caller: Caller) -> None:
    minted = caller.mint()
    caller.bloq.delete_client_keys(caller.keys.client_id)
    assert caller.refresh(minted["refreshToken"]).status_code == 401
    assert caller.nodes("GET", "/users/me/nodes", minted["accessToken"]).status_code == 200
    assert (
        caller.grant(
            grantType="clientCredentials",
            clientId=caller.keys.client_id,
            clientSecret=caller.keys.client_secret,
        ).status_code
        == 401
    )


def test_access_tokens_die_with_their_keys_when_switched_on(start: Start) -> None:
    caller = Caller.of(start(key_deletion_kills_access=True))
    token = caller.access_token()
    caller.bloq.delete_client_keys(caller.keys.client_id)
    assert caller.nodes("GET", "/users/me/nodes", token).status_code == 401


def test_tokens_can_be_revoked_by_client(caller: Caller) -> None:
    other_keys = caller.bloq.create_client_keys(caller.account.id)
    other = Caller(caller.bloq, caller.account, other_keys)
    mine, theirs = caller.mint(), other.mint()
    assert caller.bloq.revoke_refresh_tokens(caller.keys.client_id) == 1
    assert caller.bloq.revoke_access_tokens(caller.keys.client_id) == 1
    assert caller.refresh(mine["refreshToken"]).status_code == 401
    assert caller.nodes("GET", "/users/me/nodes", mine["accessToken"]).status_code == 401
    assert other.refresh(theirs["refreshToken"]).status_code == 200
    assert other.nodes("GET", "/users/me/nodes", theirs["accessToken"]).status_code == 200


def test_an_expired_token_is_answered_with_the_bare_text_jwt_expired(caller: Caller) -> None:
    token = caller.access_token()
    caller.bloq.advance_clock(3_601)
    answer = caller.nodes("GET", "/users/me/nodes", token)
    assert (answer.status_code, answer.text) == (401, "jwt expired")
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_expiry_can_be_a_problem_object_with_403(start: Start) -> None:
    caller = Caller.of(start(expiry_body="problem", expired_status=403))
    token = caller.access_token()
    caller.bloq.advance_clock(3_601)
    answer = caller.nodes("GET", "/users/me/nodes", token)
    assert (answer.status_code, answer.json()["code"]) == (403, "TokenExpired")


def test_the_older_error_shape_can_be_chosen(start: Start) -> None:
    answer = Caller.of(start(error_shape="code")).refresh("nonsense")
    assert set(answer.json()) == {"code", "message"}
    assert answer.headers["Content-Type"].startswith("application/json")


def test_nodes_wants_a_token_and_takes_an_accounts_or_a_clients(caller: Caller) -> None:
    for path in ("/users/me/nodes", "/services/nodes", "/users/me/clusters"):
        assert caller.nodes("GET", path).status_code == 401
        assert caller.nodes("GET", path, caller.access_token()).status_code == 200
        assert caller.nodes("GET", path, caller.log_in()).status_code == 200
        assert caller.nodes("GET", path, caller.mint()["refreshToken"]).status_code == 403


def test_accounts_takes_an_account_token_only(caller: Caller) -> None:
    assert caller.accounts("GET", "/users/me").status_code == 401
    assert caller.accounts("GET", "/users/me", caller.log_in()).status_code == 200
    assert caller.accounts("GET", "/users/me", caller.access_token()).status_code == 403
    assert caller.accounts("GET", "/users/me", caller.mint()["refreshToken"]).status_code == 403


def test_a_token_with_a_foreign_signature_is_answered_403(caller: Caller) -> None:
    head, body, signature = caller.access_token().split(".")
    forged = f"{head}.{body}.{signature[::-1]}"
    answer = caller.nodes("GET", "/users/me/nodes", forged)
    assert (answer.status_code, answer.json()["detail"]) == (403, "invalid signature")


def test_tokens_of_another_service_are_answered_403(start: Start) -> None:
    one, other = Caller.of(start()), Caller.of(start())
    assert one.nodes("GET", "/users/me/nodes", other.access_token()).status_code == 403


def test_claims_can_be_left_out(start: Start) -> None:
    caller = Caller.of(start(omitted_claims=frozenset({"iat", "exp"})))
    token = caller.access_token()
    assert {"iat", "exp"}.isdisjoint(_claims(token))
    caller.bloq.advance_clock(3_601)
    assert caller.nodes("GET", "/users/me/nodes", token).status_code == 401


def test_tokens_differ_whatever_is_left_out_of_them(start: Start) -> None:
    claims = frozenset({"iss", "sub", "aud", "iat", "exp", "jti", "typ"})
    bloq = start(omitted_claims=claims, clock=lambda: 1_000_000_000.0)
    one, other = Caller.of(bloq), Caller.of(bloq, "eve@example.com")
    tokens = {caller.account.id: caller.log_in() for caller in (one, other)}
    assert len({*tokens.values(), one.log_in()}) == 3
    assert [_claims(token) for token in tokens.values()] == [{}, {}]
    for user, token in tokens.items():
        assert one.accounts("GET", "/users/me", token).json()["id"] == user


def test_tokens_can_be_opaque(start: Start) -> None:
    caller = Caller.of(start(opaque_tokens=True))
    token = caller.access_token()
    with pytest.raises(jwt.DecodeError):
        _claims(token)
    assert caller.nodes("GET", "/users/me/nodes", token).status_code == 200


def test_an_injected_clock_rules_lifetimes_and_the_date_header(start: Start) -> None:
    moment = [1_000_000_000.0]
    caller = Caller.of(start(clock=lambda: moment[0], access_token_seconds=60))
    token = caller.access_token()
    assert _claims(token)["exp"] == 1_000_000_060
    moment[0] += 59
    answer = caller.nodes("GET", "/users/me/nodes", token)
    assert answer.status_code == 200
    assert parsedate_to_datetime(answer.headers["Date"]).timestamp() == 1_000_000_059
    moment[0] += 1
    assert caller.nodes("GET", "/users/me/nodes", token).status_code == 401
