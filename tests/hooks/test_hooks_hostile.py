"""Whom the token is shown: servers that would like to have it record what they are sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from airflow_provider_bloq.exceptions import BloqApiError, BloqError, BloqUnsafeAddress
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.testing.local.certificates import KeyedCertificate, self_signed, server_context
from tests.hooks.conftest import Connect
from tests.support.raw_server import RawConnection, RawServer, Script, SeenRequest, Serve, answering
from tests.support.traces import arrived

TOKENS = [f"access-token-number-{number}" for number in range(9)]
SECRETS = ("a-client-secret", "the-refresh-token", *TOKENS)


@dataclass
class Bloq:
    """Accounts and Nodes on one scripted server; Nodes answers as a test wants."""

    nodes: Script
    minted: int = 0

    def __call__(self, connection: RawConnection, request: SeenRequest) -> None:
        if request.target != "/auth/token":
            self.nodes(connection, request)
            return
        self.minted += 1
        reply = {"accessToken": TOKENS[self.minted], "refreshToken": "the-refresh-token"}
        connection.reply(200, json.dumps(reply).encode())


@pytest.fixture
def greedy(serve: Serve) -> RawServer:
    """A foreign server that refuses everybody, in the hope of a token."""
    return serve(answering(401, b"jwt expired", WWW_Authenticate="Bearer"), host="127.0.0.2")


@pytest.fixture
def start(serve: Serve, connect: Connect) -> Callable[..., tuple[RawServer, Bloq]]:
    """Start a Bloq whose Nodes answers by a script; ``bloq_default`` leads there."""

    def started(nodes: Script, **extra: Any) -> tuple[RawServer, Bloq]:
        bloq = Bloq(nodes)
        server = serve(bloq)
        connect(server.url, server.url, extra=extra)
        return server, bloq

    return started


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_to_a_foreign_host_that_answers_401_gets_no_token(
    start: Callable[..., Any], greedy: RawServer, status: int, method: str
) -> None:
    server, bloq = start(answering(status, b"", Location=f"{greedy.url}/collect"))
    answer = BloqHook().get_conn().request(method, f"{server.url}/users/me/nodes", json={"a": 1})
    assert answer.status_code == 401
    assert server.requests[-1].authorization == f"Bearer {TOKENS[1]}"
    assert [seen.authorization for seen in greedy.requests] == [None]
    assert arrived(greedy, *SECRETS) == []
    assert bloq.minted == 1


def test_the_clients_follow_no_redirect_at_all(start: Callable[..., Any], greedy: RawServer) -> None:
    start(answering(307, b"", Location=f"{greedy.url}/collect"))
    with pytest.raises(BloqApiError, match="answered 307"):
        BloqHook().nodes.list()
    assert greedy.connections == 0


@pytest.mark.parametrize("stream", [False, True])
def test_an_absolute_foreign_url_through_the_session_gets_no_token(
    start: Callable[..., Any], greedy: RawServer, stream: bool
) -> None:
    _, bloq = start(answering(200, b"[]"))
    hook = BloqHook()
    hook.nodes.list()
    assert hook.get_conn().post(f"{greedy.url}/rpc", json={}, stream=stream).status_code == 401
    assert hook.get_conn().get(f"http://localhost:{greedy.port}@127.0.0.2:{greedy.port}/").status_code == 401
    assert arrived(greedy, *SECRETS) == []
    assert bloq.minted == 1


def test_another_port_or_scheme_of_the_same_host_gets_no_token(
    start: Callable[..., Any], serve: Serve
) -> None:
    server, _ = start(answering(200, b"[]"))
    neighbour = serve(answering(401))
    hook = BloqHook()
    hook.nodes.list()
    assert hook.get_conn().get(neighbour.url).status_code == 401
    with pytest.raises(requests.exceptions.SSLError):
        hook.get_conn().get(server.url.replace("http:", "https:"))
    assert arrived(neighbour, *SECRETS) == []


async def test_a_templated_url_gets_no_token(start: Callable[..., Any], greedy: RawServer) -> None:
    _, bloq = start(answering(200, b"[]"))
    hook = BloqHook()
    hook.nodes.list()
    for call in (
        lambda: hook.rpc(f"{greedy.url}/v1/some-path-key").call("eth_chainId"),
        lambda: hook.rpc(greedy.url).batch(["eth_chainId"] * 3),
        lambda: hook.rpc(greedy.url).get_conn().post(greedy.url, json={}).raise_for_status(),
    ):
        with pytest.raises((BloqApiError, requests.HTTPError), match="401"):
            call()
    async with BloqAsyncHook() as twin:
        with pytest.raises(BloqApiError, match="answered 401"):
            await twin.rpc(greedy.url).call("eth_chainId")
    assert len(greedy.requests) == 4
    assert arrived(greedy, *SECRETS) == []
    assert bloq.minted == 1


def node_at(address: str, **fields: Any) -> Script:
    node = {"id": "node-1", "chain": "eth", "network": "mainnet", "state": "started", "ip": address}
    return answering(200, json.dumps({**node, "auth": {"type": "jwt"}, **fields}).encode())


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fd00:ec2::254", "::ffff:a9fe:a9fe", "100.100.100.200"]
)
@pytest.mark.parametrize("node_tls", ["pinned", "verify", "insecure"])
async def test_a_node_at_a_metadata_service_is_not_called(
    start: Callable[..., Any], address: str, node_tls: str
) -> None:
    start(node_at(address), node_tls=node_tls)
    hook = BloqHook()
    with pytest.raises(BloqUnsafeAddress):
        hook.rpc("node-1", tls_fingerprint="0" * 64).call("eth_chainId")
    with pytest.raises(BloqUnsafeAddress):
        hook.rpc(hook.nodes.get("node-1")).get_conn()
    async with BloqAsyncHook() as twin:
        with pytest.raises(BloqUnsafeAddress):
            await twin.rpc("node-1").call("eth_chainId")


@pytest.fixture(scope="module")
def certificate() -> KeyedCertificate:
    return self_signed("127.0.0.1")


def test_a_node_on_this_machine_is_not_called_outside_the_local_environment(
    start: Callable[..., Any], serve: Serve, certificate: KeyedCertificate
) -> None:
    recorder = serve(answering(401), server_context(certificate))
    for address in ("127.0.0.1", f"127.0.0.1:{recorder.port}", "::ffff:127.0.0.1"):
        start(node_at(address), environment="prod")
        with pytest.raises(BloqUnsafeAddress):
            BloqHook().rpc("node-1", port=recorder.port, tls_fingerprint=certificate.fingerprint).call("x")
    assert recorder.connections == 0


async def test_a_node_whose_certificate_changed_gets_nothing(
    start: Callable[..., Any], serve: Serve, certificate: KeyedCertificate
) -> None:
    def script(connection: RawConnection, request: SeenRequest) -> None:
        answer = {"id": json.loads(request.body)["id"], "result": "0x1"}
        connection.reply(200, json.dumps(answer).encode(), Connection="close")
        connection.close()

    node = serve(script, server_context(certificate))
    start(node_at(f"127.0.0.1:{node.port}"))
    hook = BloqHook()
    rpc = hook.rpc("node-1", tls_fingerprint=certificate.fingerprint)
    session = rpc.get_conn()
    async with BloqAsyncHook() as twin:
        twin_rpc = twin.rpc("node-1", tls_fingerprint=certificate.fingerprint)
        assert rpc.call("eth_chainId") == await twin_rpc.call("eth_chainId") == "0x1"
        assert {seen.authorization for seen in node.requests} == {f"Bearer {TOKENS[1]}"}
        node.requests.clear()
        node.tls = server_context(self_signed("127.0.0.1"))
        received = node.received
        with pytest.raises(BloqError, match="not the pinned one"):
            rpc.call("eth_chainId")
        with pytest.raises(BloqError, match="not the pinned one"):
            await twin_rpc.call("eth_chainId")
        with pytest.raises(requests.exceptions.SSLError):
            session.post(rpc.url, json={})
        with pytest.raises(requests.exceptions.SSLError):
            hook.get_conn().post(rpc.url, json={})
    assert (node.requests, node.received) == ([], received)


def test_the_session_of_a_node_keeps_its_password_from_others(
    start: Callable[..., Any], serve: Serve, greedy: RawServer, certificate: KeyedCertificate
) -> None:
    node = serve(answering(307, b"", Location=f"{greedy.url}/collect"), server_context(certificate))
    auth = {"type": "basic", "user": "the-node-user", "pass": "the-node-password"}
    start(node_at(f"127.0.0.1:{node.port}", auth=auth))
    rpc = BloqHook().rpc("node-1", tls_fingerprint=certificate.fingerprint)
    assert rpc.get_conn().post(rpc.url, json={}).status_code == 401
    rpc.get_conn().post(greedy.url, json={})
    rpc.get_conn().get(f"http://127.0.0.1:{greedy.port}.127.0.0.2.invalid@127.0.0.2:{greedy.port}/")
    assert arrived(node, "the-node-user:the-node-password") == ["the-node-user:the-node-password"]
    assert len(greedy.requests) == 3
    assert arrived(greedy, "the-node-user:the-node-password", "the-node-password", *SECRETS) == []


def test_netrc_replaces_no_credential_and_adds_none(
    start: Callable[..., Any], greedy: RawServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password netrc-password\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server, _ = start(answering(200, b"[]"))
    hook = BloqHook()
    hook.nodes.list()
    hook.get_conn().get(f"{server.url}/users/me/nodes")
    hook.get_conn().get(greedy.url)
    assert [seen.authorization for seen in server.requests] == [None, *[f"Bearer {TOKENS[1]}"] * 2]
    assert [seen.authorization for seen in greedy.requests] == [None]
