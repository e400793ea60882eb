"""What no client that means well sends: refused with a reason, and never a 500."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import requests

from airflow_provider_bloq.testing.local import LocalBloq
from tests.local_service.service_caller import Caller, call

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")

Start = Callable[..., LocalBloq]

#: Half of a pair, which JSON can write and UTF-8 cannot.
LONE = "\ud800"
TOO_DEEP = b"[" * 200_000
ENDLESS = "1" * 5_000


@pytest.fixture
def bloq(start: Start) -> LocalBloq:
    """A service with nothing behind Connect, either."""
    return start(connect_upstreams={})


def told(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_stray_byte_in_authorization_is_a_wrong_credential(caller: Caller) -> None:
    for credential in ("Bearer \xe4", "Basic \xe4", "\xe4", "Basic w6Q6\xe4"):
        headers = {"Authorization": credential}
        bloq = caller.bloq
        for open_to_all in (bloq.accounts_url, bloq.nodes_url, bloq.nodes_url + "/chains", bloq.connect_url):
            assert call("GET", open_to_all, headers=headers).status_code == 200
        refused = [
            call("GET", bloq.accounts_url + "/users/me", headers=headers),
            call("POST", bloq.accounts_url + "/auth", headers=headers),
            call("GET", bloq.nodes_url + "/users/me/nodes", headers=headers),
            call("GET", bloq.connect_url + "/api/v1/sync", headers=headers),
            call("POST", bloq.connect_url + "/v1/three-small-words", headers=headers),
            call("GET", bloq.admin_url + "/clock", headers=headers),
        ]
        assert {answer.status_code for answer in refused} <= {401, 403}
        keys = {"clientId": caller.keys.client_id, "clientSecret": caller.keys.client_secret}
        minting = {"grantType": "clientCredentials", **keys}
        assert (
            call("POST", bloq.accounts_url + "/auth/token", json=minting, headers=headers).status_code == 200
        )


def test_a_stray_byte_in_authorization_is_refused_by_a_node(caller: Caller) -> None:
    for credential in ("Bearer \xe4", "Basic \xe4"):
        for auth_type in ("basic", "jwt"):
            node = caller.create_node(caller.access_token(), auth_type=auth_type)
            headers = {"Authorization": credential}
            answer = call("POST", f"https://{node['ip']}:8545/", headers=headers, json={}, verify=False)
            assert answer.status_code in (401, 403)


def test_a_surrogate_in_a_token_or_secret_is_refused(caller: Caller) -> None:
    client_id, secret = caller.keys.client_id, caller.keys.client_secret
    for body in (
        {"grantType": "refreshToken", "refreshToken": LONE},
        {"grantType": "clientCredentials", "clientId": client_id, "clientSecret": LONE},
        {"grantType": "clientCredentials", "clientId": LONE, "clientSecret": secret},
    ):
        assert told(caller.grant(**body)) == (401, "InvalidCredentials")


def test_a_surrogate_in_a_password_is_refused(caller: Caller) -> None:
    for name in ("oldPassword", "newPassword"):
        body = {"oldPassword": caller.account.password, "newPassword": "another", name: LONE}
        changed = caller.accounts("PUT", "/users/me/password", caller.log_in(), json=body)
        assert changed.status_code == 400
        assert caller.log_in()


def test_a_surrogate_in_a_sign_up_is_refused(caller: Caller) -> None:
    for name in ("email", "displayName", "password"):
        body = {"email": "new@example.com", "displayName": "New", "password": "long", name: f"a@{LONE}"}
        assert caller.accounts("POST", "/users", json=body).status_code == 400


def test_a_surrogate_is_refused_by_the_admin_api(bloq: LocalBloq) -> None:
    for path, name in (("/sightings", "token"), ("/client-keys", "user"), ("/connect-keys", "chain")):
        answer = call("POST", bloq.admin_url + path, bloq.admin_bearer, json={name: LONE})
        assert answer.status_code == 400, path
    answer = call("DELETE", bloq.admin_url + "/connect-keys", bloq.admin_bearer, json={"key": LONE})
    assert answer.status_code == 400


def test_json_that_is_nested_too_deep_is_refused(caller: Caller) -> None:
    for data in (TOO_DEEP, b'{"a":' * 200_000, TOO_DEEP.decode().encode("utf-16")):
        answer = caller.accounts("POST", "/auth/token", data=data)
        assert told(answer) == (400, "InvalidBody")
        assert caller.access_token()


def test_deep_nesting_does_not_crash_a_process_with_a_high_recursion_limit() -> None:
    # As py_ecc does, which web3.py brings; the decoder then runs out of stack before it gives up.
    code = (
        "import sys, requests\n"
        "from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions\n"
        "sys.setrecursionlimit(1_000_000)\n"
        "with LocalBloq(LocalBloqOptions(upstreams={}, connect_upstreams={})) as bloq:\n"
        "    session = requests.Session()\n"
        "    session.trust_env = False\n"
        "    data = b'[' * 1_000_000\n"
        "    print(session.post(bloq.accounts_url + '/auth/token', data=data, timeout=30).status_code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "400"), done.stderr


def test_json_that_is_nested_too_deep_is_not_sent_to_a_chain(caller: Caller) -> None:
    for data in (TOO_DEEP, f'{{"method": "m", "id": {ENDLESS}}}'.encode()):
        node = caller.create_node(caller.access_token())
        login = (node["auth"]["user"], node["auth"]["pass"])
        at_node = call("POST", f"https://{node['ip']}:8545/", auth=login, data=data, verify=False)
        assert told(at_node) == (400, "InvalidBody")
        url = f"{caller.bloq.connect_url}/v1/{caller.bloq.create_connect_key()}"
        assert told(call("POST", url, data=data)) == (400, "InvalidBody")


def test_brackets_in_strings_and_in_sequence_do_not_count_as_nesting(caller: Caller) -> None:
    keys = {"clientId": caller.keys.client_id, "clientSecret": caller.keys.client_secret}
    padding: dict[str, Any] = {"text": '"[{\\' * 50_000, "list": [[]] * 50_000}
    assert caller.grant(grantType="clientCredentials", **keys, **padding).status_code == 200


def test_a_body_that_cannot_be_unpacked_is_400(caller: Caller) -> None:
    for data in (b"\x1f\x8b no gzip", gzip.compress(b'{"grantType": "x"}')[:-8] + bytes(8)):
        node = caller.create_node(caller.access_token())
        login = (node["auth"]["user"], node["auth"]["pass"])
        key = caller.bloq.create_connect_key()
        packed: dict[str, Any] = {"data": data, "headers": {"Content-Encoding": "gzip"}}
        for answer in (
            caller.accounts("POST", "/auth/token", **packed),
            caller.nodes("POST", "/users/me/nodes", caller.access_token(), **packed),
            call("POST", f"https://{node['ip']}:8545/", auth=login, verify=False, **packed),
            call("POST", f"{caller.bloq.connect_url}/v1/{key}", **packed),
            call("POST", caller.bloq.admin_url + "/accounts", caller.bloq.admin_bearer, **packed),
        ):
            assert told(answer) == (400, "InvalidBody"), answer.url


def test_a_body_that_is_packed_well_is_read(caller: Caller) -> None:
    data = gzip.compress(json.dumps({"grantType": "x"}).encode())
    answer = caller.accounts("POST", "/auth/token", data=data, headers={"Content-Encoding": "gzip"})
    assert told(answer) == (400, "InvalidGrantType")


def test_numbers_that_are_too_long_are_refused(caller: Caller) -> None:
    token = caller.access_token()
    node = caller.create_node(token)
    logs = caller.nodes("GET", f"/users/me/nodes/{node['id']}/logs?lines={ENDLESS}", token)
    assert told(logs) == (400, "InvalidParameter")
    cluster: dict[str, Any] = {"serviceId": caller.bloq.service_id(kind="cluster"), "authType": "none"}
    made = caller.nodes("POST", "/users/me/clusters", token, json={**cluster, "capacity": ENDLESS})
    assert told(made) == (400, "InvalidCapacity")


def test_the_answer_to_a_wrong_method_names_the_allowed_ones(caller: Caller) -> None:
    for url, allowed in (
        (caller.bloq.accounts_url + "/auth/token", "POST"),
        (caller.bloq.nodes_url + "/users/me/nodes", "GET,HEAD,POST"),
        (caller.bloq.connect_url + "/api/v1/sync", "GET,HEAD"),
        (caller.bloq.connect_url + "/status", "GET,HEAD"),
    ):
        answer = call("PATCH", url, caller.access_token())
        assert told(answer) == (405, "MethodNotAllowed")
        assert answer.headers["Allow"] == allowed
