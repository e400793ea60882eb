"""The admin API: who gets in, and that each lever works from outside the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from airflow_provider_bloq.testing.local import LocalBloq
from tests.local_service.service_caller import Caller, call

Start = Callable[..., LocalBloq]


def _admin(bloq: LocalBloq, method: str, path: str, **more: Any) -> requests.Response:
    return call(method, bloq.admin_url + path, bloq.admin_bearer, **more)


@pytest.mark.parametrize("path", ["/", "/counters", "/faults", "/clock", "/outbox", "/nowhere"])
def test_the_bearer_token_is_required(bloq: LocalBloq, path: str) -> None:
    assert call("GET", bloq.admin_url + path).status_code == 401
    assert call("GET", bloq.admin_url + path, "wrong").status_code == 401
    assert call("GET", bloq.admin_url + path, Caller.of(bloq, manager=True).log_in()).status_code == 401


def test_a_host_header_that_is_not_this_listener_is_refused(bloq: LocalBloq) -> None:
    for host in ("evil.example.com", "evil.example.com:{port}", "127.0.0.1", "localhost:1", ""):
        port = bloq.admin_url.rpartition(":")[2]
        answer = _admin(bloq, "GET", "/counters", headers={"Host": host.format(port=port)})
        assert (answer.status_code, answer.json()["code"]) == (403, "ForeignHost")


def test_localhost_is_a_good_host_header(bloq: LocalBloq) -> None:
    port = bloq.admin_url.rpartition(":")[2]
    assert _admin(bloq, "GET", "/counters", headers={"Host": f"localhost:{port}"}).status_code == 200


def test_each_start_makes_another_bearer(start: Start) -> None:
    one, other = start(), start()
    assert call("GET", one.admin_url + "/", other.admin_bearer).status_code == 401


def test_the_root_tells_where_everything_is(bloq: LocalBloq) -> None:
    assert _admin(bloq, "GET", "/").json() == {
        "accounts_url": bloq.accounts_url,
        "nodes_url": bloq.nodes_url,
        "connect_url": bloq.connect_url,
        "admin_url": bloq.admin_url,
        "ca_bundle": str(bloq.ca_bundle),
    }


def test_an_account_with_keys_is_made_that_can_mint(bloq: LocalBloq) -> None:
    account = {"email": "new@example.com", "password": "secret", "manager": True}
    made = _admin(bloq, "POST", "/accounts", json=account)
    assert (made.status_code, made.json()["manager"]) == (201, True)
    keys = _admin(bloq, "POST", "/client-keys", json={"user": made.json()["id"]}).json()
    body = {
        "grantType": "clientCredentials",
        "clientId": keys["client_id"],
        "clientSecret": keys["client_secret"],
    }
    assert call("POST", bloq.accounts_url + "/auth/token", json=body).status_code == 200
    assert _admin(bloq, "DELETE", f"/client-keys/{keys['client_id']}").status_code == 204
    assert call("POST", bloq.accounts_url + "/auth/token", json=body).status_code == 401
    assert _admin(bloq, "DELETE", f"/client-keys/{keys['client_id']}").status_code == 404


def test_an_email_address_has_one_account(bloq: LocalBloq) -> None:
    account = {"email": "new@example.com", "password": "secret"}
    assert _admin(bloq, "POST", "/accounts", json=account).status_code == 201
    assert _admin(bloq, "POST", "/accounts", json=account).status_code == 400


def test_tokens_are_revoked(caller: Caller) -> None:
    minted = caller.mint()
    for kind in ("refresh", "access"):
        body = {"kind": kind, "client_id": caller.keys.client_id}
        assert _admin(caller.bloq, "POST", "/revocations", json=body).json() == {"revoked": 1}
    assert caller.refresh(minted["refreshToken"]).status_code == 401
    assert caller.nodes("GET", "/users/me/nodes", minted["accessToken"]).status_code == 401
    assert _admin(caller.bloq, "POST", "/revocations", json={"kind": "all"}).status_code == 400


def test_counters_are_shown_and_reset(caller: Caller) -> None:
    token = caller.access_token()
    caller.nodes("GET", "/users/me/nodes", token)
    counts = _admin(caller.bloq, "GET", "/counters").json()
    assert (counts["mints"], counts["statuses"]) == (1, {"accounts 200": 1, "nodes 200": 1})
    assert _admin(caller.bloq, "POST", "/sightings", json={"token": token}).json() == {"listeners": ["nodes"]}
    assert _admin(caller.bloq, "DELETE", "/counters").status_code == 204
    assert _admin(caller.bloq, "GET", "/counters").json()["mints"] == 0


def test_faults_are_added_listed_and_cleared(caller: Caller) -> None:
    fault = {"kind": "status", "service": "nodes", "status": 502, "times": None}
    made = _admin(caller.bloq, "POST", "/faults", json=fault)
    assert made.status_code == 201
    assert caller.nodes("GET", "/chains").status_code == 502
    (listed,) = _admin(caller.bloq, "GET", "/faults").json()["faults"]
    assert listed["id"] == made.json()["id"]
    assert (listed["struck"], listed["spent"], listed["status"]) == (1, False, 502)
    assert _admin(caller.bloq, "DELETE", f"/faults/{listed['id']}").status_code == 204
    assert caller.nodes("GET", "/chains").status_code == 200
    assert _admin(caller.bloq, "DELETE", f"/faults/{listed['id']}").status_code == 404
    assert _admin(caller.bloq, "DELETE", "/faults").status_code == 204


def test_a_wrong_fault_is_answered_400(bloq: LocalBloq) -> None:
    for fault in (
        {},
        {"kind": "earthquake"},
        {"kind": "reset", "colour": "red"},
        {"kind": "reset", "times": 0},
        {"kind": "delay", "status": "x"},
    ):
        answer = _admin(bloq, "POST", "/faults", json=fault)
        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidBody")
        assert _admin(bloq, "GET", "/faults").json() == {"faults": []}


def test_the_clock_is_shown_and_moved(caller: Caller) -> None:
    token = caller.access_token()
    before = _admin(caller.bloq, "GET", "/clock").json()["now"]
    assert _admin(caller.bloq, "POST", "/clock", json={"advance": 4_000}).json()["now"] >= before + 4_000
    assert caller.nodes("GET", "/users/me/nodes", token).status_code == 401
    assert _admin(caller.bloq, "POST", "/clock", json={"advance": "soon"}).status_code == 400


def test_provisioning_and_updates_are_finished(start: Start) -> None:
    caller = Caller.of(start(provision_seconds=1_000, update_seconds=None))
    token = caller.access_token()
    cluster = caller.create_cluster(token)
    assert _admin(caller.bloq, "POST", "/provisioning", json={"id": cluster["id"]}).json() == {"finished": 1}
    path = f"/users/me/clusters/{cluster['id']}"
    caller.nodes("PATCH", path, token, json={"serviceId": caller.bloq.service_id("eth", kind="cluster")})
    assert _admin(caller.bloq, "POST", "/updates", json={}).json() == {"finished": 1}
    shown = caller.nodes("GET", path, token).json()
    assert (shown["state"], "updatingService" in shown) == ("started", False)
    assert _admin(caller.bloq, "POST", "/provisioning", json={"id": "node-unknown"}).status_code == 404


def test_a_certificate_is_replaced(caller: Caller) -> None:
    path = f"/certificates/{caller.create_node(caller.access_token())['id']}"
    before = _admin(caller.bloq, "GET", path).json()["fingerprint"]
    after = _admin(caller.bloq, "POST", path).json()["fingerprint"]
    assert before != after
    assert _admin(caller.bloq, "GET", path).json()["fingerprint"] == after
    assert _admin(caller.bloq, "POST", "/certificates/node-unknown").status_code == 404


def test_a_service_is_disabled_and_the_outbox_is_shown(caller: Caller) -> None:
    service_id = caller.bloq.service_id("ltc")
    assert _admin(caller.bloq, "DELETE", f"/services/{service_id}").status_code == 204
    assert caller.bloq.service_id("ltc") != service_id
    sign_up = {"email": "x@example.com", "displayName": "X", "password": "p"}
    caller.accounts("POST", "/users", json=sign_up)
    (mail,) = _admin(caller.bloq, "GET", "/outbox").json()["mails"]
    assert mail["to"] == "x@example.com"
