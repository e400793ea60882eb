"""The door of a node: address, certificate, authentication, sidecar, and the chain plugged in behind."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from tests.local_service.service_caller import Caller, call

# Nodes are self-signed; what their certificates are good for is tested by fingerprint.
pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")

Start = Callable[..., LocalBloq]

_CALL: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}


class _EchoChain:
    """Answers each call with its path and body: shows what the gateway lets through."""

    def __init__(self) -> None:
        class Echo(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                seen = {"path": self.path, "body": body, "authorization": self.headers["Authorization"]}
                answer = json.dumps(seen).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing: a test's output is for its failures."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.stopped.set()


class _BrokenChain:
    url = "http://127.0.0.1:9"

    def start(self) -> None:
        raise RuntimeError("no such program")

    def stop(self) -> None:
        """Nothing was started."""


@pytest.fixture
def chains() -> list[_EchoChain]:
    return []


@pytest.fixture
def caller(start: Start, chains: list[_EchoChain]) -> Caller:
    """An account of a service whose eth nodes have an echo behind them."""

    def make() -> _EchoChain:
        chains.append(_EchoChain())
        return chains[-1]

    return Caller.of(start(upstreams={"eth": make}))


def _rpc(node: dict[str, Any], token: str | None = None, **more: Any) -> requests.Response:
    address = node.get("ip") or node["domain"]
    return call("POST", f"https://{address}:8545/", token, **{"json": _CALL, "verify": False, **more})


def _login(node: dict[str, Any]) -> tuple[str, str]:
    return node["auth"]["user"], node["auth"]["pass"]


def _shown_fingerprint(node: dict[str, Any], port: int = 8545) -> str:
    pem = ssl.get_server_certificate((node["ip"], port), timeout=10)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def test_a_basic_node_accepts_only_its_own_user(caller: Caller) -> None:
    token = caller.access_token()
    node = caller.create_node(token)
    assert _rpc(node, auth=_login(node)).json()["body"] == json.dumps(_CALL)
    assert _rpc(node, auth=(node["auth"]["user"], "wrong")).status_code == 401
    assert _rpc(node).status_code == 401
    assert _rpc(node).headers["WWW-Authenticate"].startswith("Basic")
    assert _rpc(node, token).status_code == 401


def test_a_jwt_node_takes_its_owners_access_tokens_only(caller: Caller) -> None:
    minted = caller.mint()
    node = caller.create_node(minted["accessToken"], auth_type="jwt")
    assert _rpc(node, minted["accessToken"]).status_code == 200
    assert _rpc(node, caller.log_in()).status_code == 200
    assert _rpc(node).status_code == 401
    assert _rpc(node, minted["refreshToken"]).status_code == 403
    assert _rpc(node, "forged").status_code == 403
    assert _rpc(node, Caller.of(caller.bloq, "eve@example.com").access_token()).status_code == 403


def test_a_jwt_node_refuses_expired_and_revoked_tokens(caller: Caller) -> None:
    token = caller.access_token()
    node = caller.create_node(token, auth_type="jwt")
    revoked = caller.access_token()
    caller.bloq.revoke_access_tokens(caller.keys.client_id)
    assert _rpc(node, revoked).status_code == 401
    expiring = caller.access_token()
    caller.bloq.advance_clock(3_601)
    refused = _rpc(node, expiring)
    assert (refused.status_code, refused.text) == (401, "jwt expired")


def test_credentials_of_the_node_do_not_reach_the_chain(caller: Caller) -> None:
    token = caller.access_token()
    node = caller.create_node(token, auth_type="jwt")
    assert _rpc(node, token).json()["authorization"] is None


def test_paths_and_queries_reach_the_chain(caller: Caller) -> None:
    node = caller.create_node(caller.access_token())
    answer = call("POST", f"https://{node['ip']}:8545/v1/x?y=1", auth=_login(node), data=b"z", verify=False)
    assert (answer.json()["path"], answer.json()["body"]) == ("/v1/x?y=1", "z")


def test_rpc_calls_are_counted_by_node_and_method_batches_included(caller: Caller) -> None:
    token = caller.access_token()
    one, two = caller.create_node(token), caller.create_node(token)
    _rpc(one, auth=_login(one))
    _rpc(one, auth=_login(one), json=[_CALL, {**_CALL, "method": "eth_chainId"}])
    _rpc(two, auth=_login(two))
    _rpc(two, auth=("not", "let in"))
    assert caller.bloq.counters().rpc_calls == {
        one["id"]: {"eth_blockNumber": 2, "eth_chainId": 1},
        two["id"]: {"eth_blockNumber": 1},
    }


def test_a_token_is_seen_at_the_node_that_it_was_sent_to(caller: Caller) -> None:
    token = caller.access_token()
    node = caller.create_node(token, auth_type="jwt")
    other = caller.access_token()
    _rpc(node, other)
    assert caller.bloq.where_seen(other) == {node["id"]}


def test_the_sidecar_tells_health_and_logs_on_8080(caller: Caller) -> None:
    node = caller.create_node(caller.access_token())
    _rpc(node, auth=_login(node))
    sidecar = f"https://{node['ip']}:8080"
    assert call("GET", sidecar + "/status", verify=False).status_code == 401
    assert call("GET", sidecar + "/status", auth=_login(node), verify=False).json() == "healthy"
    whole = call("GET", sidecar + "/logs", auth=_login(node), verify=False).json()
    assert whole[-1] == "rpc eth_blockNumber"
    last = call("GET", sidecar + "/logs", auth=_login(node), verify=False, headers={"lines": "2"})
    assert last.json() == whole[-2:]
    wrong = call("GET", sidecar + "/logs", auth=_login(node), verify=False, headers={"lines": "all"})
    assert wrong.status_code == 400


def test_each_node_has_a_different_self_signed_certificate(caller: Caller) -> None:
    token = caller.access_token()
    one, two = caller.create_node(token), caller.create_node(token)
    assert _shown_fingerprint(one) == _shown_fingerprint(one, 8080) == caller.bloq.node_fingerprint(one["id"])
    assert _shown_fingerprint(one) != _shown_fingerprint(two)
    with pytest.raises(requests.exceptions.SSLError):
        _rpc(one, auth=_login(one), verify=str(caller.bloq.ca_bundle))


def test_a_replaced_certificate_is_shown_at_once_and_ends_open_connections(caller: Caller) -> None:
    node = caller.create_node(caller.access_token())
    before = _shown_fingerprint(node)
    with requests.Session() as session:
        session.trust_env, session.verify, session.auth = False, False, _login(node)
        url = f"https://{node['ip']}:8545/"
        session.post(url, json=_CALL, timeout=10)
        after = caller.bloq.replace_node_certificate(node["id"])
        answer = session.post(url, json=_CALL, timeout=10, stream=True)
        connected = getattr(answer.raw.connection, "sock", None)
        assert isinstance(connected, ssl.SSLSocket)
        seen = hashlib.sha256(connected.getpeercert(binary_form=True) or b"").hexdigest()
        answer.close()
    assert before != after == seen == _shown_fingerprint(node)


def test_a_clusters_certificate_is_vouched_for_by_the_local_ca(caller: Caller) -> None:
    cluster = caller.create_cluster(caller.access_token())
    assert _rpc(cluster, verify=str(caller.bloq.ca_bundle)).status_code == 200
    caller.bloq.replace_node_certificate(cluster["id"])
    assert _rpc(cluster, verify=str(caller.bloq.ca_bundle)).status_code == 200


def test_a_deleted_node_gives_up_its_address_and_its_chain(caller: Caller, chains: list[_EchoChain]) -> None:
    token = caller.access_token()
    node = caller.create_node(token)
    caller.nodes("DELETE", f"/users/me/nodes/{node['id']}", token)
    assert [chain.stopped.is_set() for chain in chains] == [True]
    with pytest.raises(requests.exceptions.ConnectionError):
        _rpc(node, auth=_login(node))


def test_stopping_the_service_stops_all_chains(caller: Caller, chains: list[_EchoChain]) -> None:
    token = caller.access_token()
    caller.create_node(token)
    caller.create_cluster(token)
    caller.bloq.stop()
    assert [chain.stopped.is_set() for chain in chains] == [True, True]


def test_a_node_that_is_still_provisioned_answers_503(start: Start) -> None:
    caller = Caller.of(start(upstreams={"eth": _EchoChain}, provision_seconds=60))
    node = caller.create_node(caller.access_token())
    refused = _rpc(node, auth=_login(node))
    assert (refused.status_code, refused.json()["code"]) == (503, "NodeNotReady")
    caller.bloq.finish_provisioning(node["id"])
    assert _rpc(node, auth=_login(node)).status_code == 200


def test_a_node_without_a_chain_says_so(caller: Caller) -> None:
    node = caller.create_node(caller.access_token(), chain="btc")
    answer = call("POST", f"https://{node['ip']}:8332/", auth=_login(node), json={}, verify=False)
    assert (answer.status_code, answer.json()["code"]) == (503, "NoChain")
    assert "btc" in answer.json()["detail"]


def test_a_node_reports_that_its_chain_does_not_start(start: Start) -> None:
    caller = Caller.of(start(upstreams={"eth": _BrokenChain}))
    node = caller.create_node(caller.access_token())
    answer = _rpc(node, auth=_login(node))
    assert answer.status_code == 503
    assert "no such program" in answer.json()["detail"]


def test_faults_strike_nodes_as_the_service_rpc(caller: Caller) -> None:
    node = caller.create_node(caller.access_token())
    caller.bloq.add_fault(Fault(kind=FaultKind.STATUS, service="rpc", status=502))
    caller.bloq.add_fault(Fault(kind=FaultKind.RESET, service="rpc"))
    assert _rpc(node, auth=_login(node)).status_code == 502
    with pytest.raises(requests.exceptions.ConnectionError):
        _rpc(node, auth=_login(node))
    assert _rpc(node, auth=_login(node)).status_code == 200


def test_the_port_can_be_written_into_the_address(start: Start) -> None:
    caller = Caller.of(start(upstreams={"eth": _EchoChain}, node_address="port-in-ip"))
    node = caller.create_node(caller.access_token())
    assert node["ip"].startswith("127.0.0.1:")
    answer = call("POST", f"https://{node['ip']}/", auth=_login(node), json=_CALL, verify=False)
    assert answer.status_code == 200
