"""The account itself: sign-up, verification, password, client keys, events."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_bloq.testing.local import LocalBloq
from tests.local_service.service_caller import Caller, call

Start = Callable[..., LocalBloq]

_SIGN_UP = {
    "email": "new@example.com",
    "displayName": "New",
    "password": "a long password",
    "billingAddress": {"address": "1 Road", "zipCode": "1", "state": "IL", "country": "US"},
}
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_the_root_of_both_services_says_that_they_are_up(bloq: LocalBloq) -> None:
    assert call("GET", bloq.accounts_url + "/").status_code == 200
    assert call("GET", bloq.nodes_url + "/").status_code == 200


def test_a_sign_up_is_verified_with_the_token_of_its_mail(bloq: LocalBloq) -> None:
    answer = call("POST", bloq.accounts_url + "/users", json=_SIGN_UP)
    assert answer.status_code == 201
    assert re.fullmatch(
        r"user-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", answer.json()["id"]
    )
    (mail,) = bloq.outbox()
    assert mail.to == "new@example.com"
    verify = f"{bloq.accounts_url}/users/{mail.to}/token/"
    assert call("PUT", verify + "00000000-0000-4000-8000-000000000000").status_code == 400
    assert call("PUT", verify + mail.token).status_code == 204
    again = call("PUT", verify + mail.token)
    assert (again.status_code, again.json()["code"]) == (409, "UserVerified")


def test_verifying_an_unknown_user_is_answered_404(bloq: LocalBloq) -> None:
    assert call("PUT", f"{bloq.accounts_url}/users/nobody@example.com/token/x").status_code == 404


def test_an_email_address_signs_up_once(bloq: LocalBloq) -> None:
    assert call("POST", bloq.accounts_url + "/users", json=_SIGN_UP).status_code == 201
    assert call("POST", bloq.accounts_url + "/users", json=_SIGN_UP).status_code == 409


def test_a_sign_up_whose_body_is_an_object_turned_to_text_is_answered_400(bloq: LocalBloq) -> None:
    assert call("POST", bloq.accounts_url + "/users", data=b"[object Object]").status_code == 400


def test_login_can_be_made_to_wait_for_verification(start: Start) -> None:
    bloq = start(login_needs_verification=True)
    call("POST", bloq.accounts_url + "/users", json=_SIGN_UP)
    login = ("new@example.com", "a long password")
    assert call("POST", bloq.accounts_url + "/auth", auth=login).status_code == 403
    (mail,) = bloq.outbox()
    call("PUT", f"{bloq.accounts_url}/users/{mail.user_id}/token/{mail.token}")
    assert call("POST", bloq.accounts_url + "/auth", auth=login).status_code == 200


def test_the_account_shows_the_documented_fields(caller: Caller) -> None:
    shown = caller.accounts("GET", "/users/me", caller.log_in()).json()
    assert set(shown) == {
        "id", "email", "displayName", "entityType", "billingAddress", "verifiedAt", "createdAt", "updatedAt",
    }  # fmt: skip
    assert _ISO.fullmatch(shown["createdAt"])
    assert shown["entityType"] == "individual"
    assert set(shown["billingAddress"]) == {"address", "zipCode", "state", "country"}
    assert all(shown["billingAddress"].values())


@pytest.mark.parametrize("given", [{"billingAddress": {"country": "US"}}, {"billingAddress": {}}, {}])
def test_a_billing_address_has_all_of_its_fields(bloq: LocalBloq, given: dict[str, Any]) -> None:
    signing_up = {name: value for name, value in _SIGN_UP.items() if name != "billingAddress"}
    shown = call("POST", bloq.accounts_url + "/users", json={**signing_up, **given}).json()["billingAddress"]
    country = given.get("billingAddress", {}).get("country", "")
    assert shown == {"address": "", "zipCode": "", "state": "", "country": country}


def test_an_account_has_none_of_the_keys_of_old(caller: Caller) -> None:
    for path, shown in (
        ("/users/me/keys", {"pgpkeys": [], "bitkeys": []}),
        ("/users/me/keys/pgp", {"pgpkeys": []}),
        ("/users/me/keys/bit", {"bitkeys": []}),
    ):
        answer = caller.accounts("GET", path, caller.log_in())
        # Not a slip: it is what the client of that time expected.
        assert (answer.status_code, answer.json()) == (201, shown)
        assert caller.accounts("GET", path).status_code == 401
        assert caller.accounts("GET", path, caller.access_token()).status_code == 403


def test_one_of_the_keys_of_old_is_not_found(caller: Caller) -> None:
    for path in ("/users/me/keys/ssh", "/users/me/keys/pgp/1", "/users/me/keys/ssh/1"):
        assert caller.accounts("GET", path).status_code == 401
        assert caller.accounts("GET", path, caller.log_in()).status_code == 404


def test_a_password_is_changed_with_the_old_one_only(caller: Caller) -> None:
    token = caller.log_in()
    wrong = {"oldPassword": "wrong", "newPassword": "another"}
    refused = caller.accounts("PUT", "/users/me/password", token, json=wrong)
    assert (refused.status_code, refused.json()["code"]) == (400, "InvalidPassword")
    right = {"oldPassword": caller.account.password, "newPassword": "another"}
    assert caller.accounts("PUT", "/users/me/password", token, json=right).status_code == 204
    assert caller.accounts("POST", "/auth", auth=(caller.account.email, "another")).status_code == 200


def test_the_documented_statuses_of_verify_and_password_can_be_chosen(start: Start) -> None:
    caller = Caller.of(start(password_status=200, verify_status=200))
    body = {"oldPassword": caller.account.password, "newPassword": "another"}
    changed = caller.accounts("PUT", "/users/me/password", caller.log_in(), json=body)
    assert (changed.status_code, changed.json()) == (200, {})
    call("POST", caller.bloq.accounts_url + "/users", json=_SIGN_UP)
    (mail,) = caller.bloq.outbox()
    assert caller.accounts("PUT", f"/users/{mail.user_id}/token/{mail.token}").status_code == 200


def test_client_keys_are_made_listed_and_deleted(caller: Caller) -> None:
    token = caller.log_in()
    made = caller.accounts("POST", "/users/me/client-keys", token)
    assert made.status_code == 200
    keys = made.json()
    assert re.fullmatch("[0-9a-f]{40}", keys["clientId"])
    assert re.fullmatch("[0-9a-f]{80}", keys["clientSecret"])
    listed = caller.accounts("GET", "/users/me/client-keys", token).json()
    assert [set(item) for item in listed] == [{"id", "createdAt"}] * 2
    assert keys["clientId"] in [item["id"] for item in listed]
    path = "/users/me/client-keys/" + keys["clientId"]
    assert caller.accounts("DELETE", path, token).status_code == 204
    assert caller.accounts("DELETE", path, token).status_code == 404


def test_the_keys_of_another_account_cannot_be_deleted(caller: Caller) -> None:
    other = Caller.of(caller.bloq, "eve@example.com")
    path = "/users/me/client-keys/" + caller.keys.client_id
    assert other.accounts("DELETE", path, other.log_in()).status_code == 404
    assert caller.access_token()


def test_events_show_the_accounts_calls_to_both_services(caller: Caller) -> None:
    caller.nodes("GET", "/users/me/nodes/node-unknown", caller.access_token())
    events = caller.accounts("GET", "/users/me/events", caller.log_in()).json()
    (event,) = [item for item in events if item["service"] == "nodes"]
    assert set(event) == {"id", "user", "service", "serviceData", "input", "output", "createdAt"}
    assert set(event["output"]) == {"startTime", "endTime", "httpStatusCode", "bytesOut"}
    assert event["output"]["httpStatusCode"] == 404
    assert event["output"]["bytesOut"] > 0
    assert event["user"] == caller.account.id


def test_an_unknown_route_is_answered_404_in_the_usual_shape(caller: Caller) -> None:
    answer = caller.accounts("GET", "/keys")
    assert answer.status_code == 404
    assert answer.json()["status"] == 404
