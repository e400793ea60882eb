"""Who may use Connect, which chain answers, when it is started, and how requests go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from airflow_provider_bloq.testing.anvil import Anvil
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq, LocalBloqNotFound
from tests.local_service.connect_caller import ConnectCaller
from tests.local_service.service_caller import Caller, call
from tests.support.shared_chain import SharedChain

Start = Callable[..., LocalBloq]

UNKNOWN_KEY = "three-small-words"
BLOCK_NUMBER = {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}


class Chain:
    """Stands for a chain and counts its starts; it cannot be called."""

    def __init__(self, problem: str | None = None) -> None:
        self.url = "http://127.0.0.1:9"
        self.starts = 0
        self._problem = problem

    def start(self) -> None:
        self.starts += 1
        if self._problem is not None:
            raise RuntimeError(self._problem)

    def stop(self) -> None:
        """Nothing runs."""


def ask(bloq: LocalBloq, token: str | None, **more: Any) -> requests.Response:
    return call("GET", bloq.connect_url + "/api/v1/sync", token, **more)


@pytest.fixture
def empty(start: Start) -> LocalBloq:
    """A service with nothing behind Connect."""
    return start(connect_upstreams={})


def test_without_a_chain_it_says_so(empty: LocalBloq) -> None:
    caller = Caller.of(empty)
    for token in (caller.access_token(), caller.log_in()):
        answer = ask(empty, token)
        assert (answer.status_code, answer.json()["code"]) == (503, "NoChain")
        assert "btc" in answer.json()["detail"]


def test_tokens_that_do_not_open_it(empty: LocalBloq) -> None:
    caller = Caller.of(empty)
    assert ask(empty, None).status_code == 401
    assert ask(empty, "a.b.c").status_code == 403
    assert ask(empty, caller.mint()["refreshToken"]).status_code == 403


def test_an_expired_token_is_401_with_two_bare_words(start: Start) -> None:
    for body, text, kind in (
        ("plain", "jwt expired", "text/plain"),
        ("json", '"jwt expired"', "application/json"),
    ):
        bloq = start(connect_upstreams={}, expiry_body=body)
        token = Caller.of(bloq).access_token()
        bloq.advance_clock(3_601)
        answer = ask(bloq, token)
        assert (answer.status_code, answer.text) == (401, text)
        assert answer.headers["Content-Type"].startswith(kind)


@pytest.mark.parametrize(
    ("host", "chain"),
    [
        ("btc.connect.example", "btc"),
        ("BCH.connect.example:80", "bch"),
        ("bch.localhost:4006", "bch"),
        ("bch.localhost.", "bch"),
        ("localhost", "btc"),
        ("LOCALHOST:4006", "btc"),
        ("127.0.0.1", "btc"),
        ("127.3.2.1:4006", "btc"),
        ("[::1]:4006", "btc"),
        ("", "btc"),
    ],
)
def test_the_host_names_the_chain_and_it_is_bitcoin_on_this_machine(
    empty: LocalBloq, host: str, chain: str
) -> None:
    answer = ask(empty, Caller.of(empty).access_token(), headers={"Host": host})
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith(f"No {chain} chain")


@pytest.mark.parametrize(
    "host",
    ["connect.example", "eth.connect.example", "etc.localhost:4006", "doge.localhost", "192.0.2.1", "\xe4"],
)
def test_a_chain_that_the_rest_api_is_not_of_is_not_taken_for_bitcoin(empty: LocalBloq, host: str) -> None:
    token = Caller.of(empty).access_token()
    answer = ask(empty, token, headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (404, "UnknownChain")
    assert ask(empty, None, headers={"Host": host}).status_code == 401
    stream = f"{empty.connect_url}/socket.io/?EIO=3&transport=polling&token={token}"
    assert call("GET", stream, headers={"Host": host}).status_code == 404


def test_a_chain_is_started_by_the_first_who_asks_and_only_once(start: Start) -> None:
    btc, bch = Chain(), Chain()
    bloq = start(connect_upstreams={"btc": lambda: btc, "bch": lambda: bch})
    token = Caller.of(bloq).access_token()
    assert call("GET", bloq.connect_url).status_code == 200
    assert ask(bloq, None).status_code == 401
    assert btc.starts == 0
    assert [ask(bloq, token).status_code for _ in range(2)] == [502, 502]
    assert (btc.starts, bch.starts) == (1, 0)


def test_the_reason_for_a_chain_that_does_not_start_is_reported(start: Start) -> None:
    bloq = start(connect_upstreams={"btc": lambda: Chain("no room on this machine")})
    answer = ask(bloq, Caller.of(bloq).access_token())
    assert (answer.status_code, answer.json()["code"]) == (503, "NoChain")
    assert "no room on this machine" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(kind=FaultKind.RATE_LIMIT, service="connect", retry_after=3), 429),
        (Fault(kind=FaultKind.STATUS, service="connect", status=502), 502),
        (Fault(kind=FaultKind.UNAUTHORIZED, service="connect", path="/sync"), 401),
        (Fault(kind=FaultKind.HTML, service="connect", status=500), 500),
    ],
)
def test_faults_strike_connect(empty: LocalBloq, fault: Fault, status: int) -> None:
    token = Caller.of(empty).access_token()
    empty.add_fault(fault)
    assert [ask(empty, token).status_code for _ in range(2)] == [status, 503]
    assert empty.counters().calls["connect GET /sync"] == 2
    assert empty.where_seen(token) == {"connect"}


@pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.LOST_RESPONSE])
def test_a_connection_can_be_lost(empty: LocalBloq, kind: FaultKind) -> None:
    token = Caller.of(empty).access_token()
    empty.add_fault(Fault(kind=kind, service="connect"))
    with pytest.raises(requests.exceptions.ConnectionError):
        ask(empty, token)


def test_a_path_key_that_is_unknown_is_refused(start: Start) -> None:
    for status in (401, 403):
        bloq = start(connect_upstreams={}, connect_unknown_key_status=status)
        answer = call("POST", f"{bloq.connect_url}/v1/{UNKNOWN_KEY}", json=BLOCK_NUMBER)
        assert answer.status_code == status
        assert UNKNOWN_KEY not in answer.text


def test_a_key_is_for_one_chain_and_ends_when_it_is_deleted(empty: LocalBloq) -> None:
    key = empty.create_connect_key("etc")
    assert [word.isalpha() and word.islower() for word in key.split("-")] == [True, True, True]

    def status(host: str) -> int:
        url = f"{empty.connect_url}/v1/{key}"
        return call("POST", url, json=BLOCK_NUMBER, headers={"Host": host}).status_code

    # 503 means that the key was good, but no chain is there.
    fitting = ("etc.x", "etc.localhost:80", "localhost", "127.0.0.1:80", "[::1]:80")
    assert {status(host) for host in fitting} == {503}
    assert {status(host) for host in ("eth.x", "btc.x", "x.y", "bch.localhost", "192.0.2.1")} == {401}
    empty.delete_connect_key(key)
    assert status("etc.x") == 401
    with pytest.raises(LocalBloqNotFound):
        empty.delete_connect_key(key)
    with pytest.raises(LocalBloqNotFound, match="btc"):
        empty.create_connect_key("btc")


@pytest.mark.anvil
def test_a_key_opens_a_real_chain_without_any_token(start: Start, chain: Anvil) -> None:
    bloq = start(connect_upstreams={"eth": lambda: SharedChain(chain)})
    url = f"{bloq.connect_url}/v1/{bloq.create_connect_key()}"
    batch = [{**BLOCK_NUMBER, "id": number, "method": "eth_chainId"} for number in range(3)]
    assert [one["result"] for one in call("POST", url, json=batch).json()] == ["0x7a69"] * 3
    assert bloq.counters().rpc_calls["connect:eth"] == {"eth_chainId": 3}
    assert bloq.counters().calls == {"connect POST /v1/{key}": 1}


def test_another_process_can_steer_connect(empty: LocalBloq) -> None:
    def admin(method: str, path: str, **body: Any) -> requests.Response:
        return call(method, empty.admin_url + path, empty.admin_bearer, json=body)

    made = admin("POST", "/connect-keys", chain="eth")
    assert made.status_code == 201
    assert call("POST", f"{empty.connect_url}/v1/{made.json()['key']}", json=[]).status_code == 503
    assert admin("DELETE", "/connect-keys", key=made.json()["key"]).status_code == 204
    assert admin("DELETE", "/connect-keys", key=made.json()["key"]).status_code == 404
    assert admin("GET", "/streams").json() == {"open": 0}
    assert admin("PATCH", "/streams", held=True).status_code == 204
    assert admin("PATCH", "/streams", held=False).status_code == 204
    assert admin("DELETE", "/streams").json() == {"dropped": 0}
    assert admin("GET", "/").json()["connect_url"] == empty.connect_url
    assert ConnectCaller.of(empty).send("GET", "/peer").status_code == 503
