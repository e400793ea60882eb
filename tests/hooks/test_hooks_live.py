"""The hook over real sockets: a real Vault, the local Bloq service, and what goes wrong while it is used."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.exceptions import (
    BloqAmbiguousCreate,
    BloqCertificateError,
    BloqClientKeysRejected,
    BloqConfigurationError,
    BloqNotFound,
    BloqQuotaExceeded,
    BloqUnsafeAddress,
)
from airflow_provider_bloq.hooks.auth import BloqAuth
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloqOptions
from airflow_provider_bloq.testing.stack import LocalStack


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(LocalBloqOptions(node_quota=100)) as running:
        yield running


@pytest.fixture
def bloq(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStack]:
    shared_providers.forget()
    connect(stack, monkeypatch)
    stack.bloq.reset_counters()
    yield stack
    stack.bloq.clear_faults()


def connect(stack: LocalStack, monkeypatch: pytest.MonkeyPatch, **extra: Any) -> None:
    for conn_id, fields in stack.connections().items():
        changed = {**fields, "extra": fields["extra"] | extra} if conn_id == "bloq_default" else fields
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(changed))


class Foreign(BaseHTTPRequestHandler):
    """A server that is none of Bloq's, refuses everything, and remembers what it was sent."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        Foreign.seen.append(str(self.headers))
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def foreign() -> Iterator[str]:
    Foreign.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Foreign)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_nothing_is_read_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection is read")

    monkeypatch.setattr(BloqHook, "get_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    BloqHook("nowhere")
    BloqAsyncHook("nowhere")
    BloqAuth("nowhere")


def test_all_hooks_of_a_process_share_one_login_one_reading_and_one_mint(bloq: LocalStack) -> None:
    before = len(bloq.vault.requests_seen())
    for _ in range(3):
        hook = BloqHook()
        hook.nodes.list()
        assert hook.get_conn().get(f"{hook.settings.nodes_url}/users/me/nodes").status_code == 200
    assert [(seen.operation, seen.path) for seen in bloq.vault.requests_seen()[before:]] == [
        ("update", "auth/approle/login"),
        ("read", "secret/data/bloq/client-keys"),
    ]
    assert bloq.bloq.counters().mints == 1


def test_revocation_and_rotation_fail_no_call(bloq: LocalStack) -> None:
    hook = BloqHook()
    hook.nodes.list()
    reads = bloq.key_reads()
    bloq.revoke_tokens()
    hook.nodes.list()
    assert (bloq.bloq.counters().mints, bloq.key_reads() - reads) == (2, 0)
    bloq.rotate_keys()
    assert hook.get_conn().post(f"{hook.settings.nodes_url}/users/me/nodes", json={}).status_code != 401
    assert (bloq.bloq.counters().mints, bloq.key_reads() - reads) == (3, 1)


def test_refused_keys_are_an_error_that_airflow_does_not_retry(bloq: LocalStack) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    bloq.bloq.delete_client_keys(bloq.keys.client_id)
    reads = bloq.key_reads()
    try:
        with pytest.raises(BloqClientKeysRejected) as refusal:
            BloqHook().get_conn().get(f"{bloq.bloq.nodes_url}/users/me/nodes")
        assert isinstance(refusal.value, AirflowFailException)
        assert bloq.key_reads() - reads == 2
    finally:
        bloq.renew_keys()


def test_a_wrong_wall_clock_does_no_harm(bloq: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + 36_000)
    hook = BloqHook()
    for _ in range(5):
        hook.nodes.list()
    assert (bloq.bloq.counters().mints, bloq.bloq.counters().refreshes) == (1, 0)


def test_a_foreign_url_gets_no_token(bloq: LocalStack, foreign: str) -> None:
    hook = BloqHook()
    token = hook.get_access_token()
    assert hook.get_conn().get(f"{foreign}/x").status_code == 401
    with pytest.raises(Exception, match="401"):
        hook.rpc(f"{foreign}/").call("eth_blockNumber")
    assert len(Foreign.seen) == 2
    assert not any("Authorization" in headers or token in headers for headers in Foreign.seen)
    assert bloq.bloq.counters().mints == 1


def test_netrc_and_a_wrong_ca_variable_change_nothing(
    bloq: LocalStack, foreign: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    hook = BloqHook()
    hook.get_conn().get(f"{foreign}/x")
    assert "Authorization" not in Foreign.seen[0]
    assert hook.nodes.list() is not None


@pytest.mark.anvil
async def test_a_node_is_called_only_with_its_pinned_certificate(bloq: LocalStack) -> None:
    hook = BloqHook()
    node = hook.nodes.create(bloq.bloq.service_id("eth"))
    with pytest.raises(BloqCertificateError, match="tls_fingerprint=") as unpinned:
        hook.rpc(node.id).call("eth_chainId")
    pin = unpinned.value.fingerprint
    assert pin == bloq.bloq.node_fingerprint(node.id)
    assert hook.rpc(node.id, tls_fingerprint=pin).call("eth_chainId") == "0x7a69"
    assert len(hook.rpc({"id": node.id, "tls_fingerprint": pin}).batch(["eth_blockNumber"] * 120)) == 120
    async with BloqAsyncHook() as twin:
        assert await twin.rpc(node, tls_fingerprint=pin).call("eth_chainId") == "0x7a69"
        bloq.bloq.replace_node_certificate(node.id)
        before = bloq.bloq.counters().calls["rpc POST /"]
        with pytest.raises(BloqCertificateError, match="not the pinned one"):
            await twin.rpc(node, tls_fingerprint=pin).call("eth_chainId")
    shared_providers.forget()
    with pytest.raises(BloqCertificateError, match="not the pinned one"):
        BloqHook().rpc(node.id, tls_fingerprint=pin).call("eth_chainId")
    assert bloq.bloq.counters().calls["rpc POST /"] == before
    hook.nodes.delete(node.id)
    hook.nodes.delete(node.id)


@pytest.mark.anvil
def test_a_node_with_a_password_never_sees_the_token(bloq: LocalStack) -> None:
    hook = BloqHook()
    node = hook.nodes.create(bloq.bloq.service_id("eth"), "basic")
    rpc = hook.rpc(node, tls_fingerprint=bloq.bloq.node_fingerprint(node.id))
    assert rpc.call("eth_chainId") == "0x7a69"
    assert bloq.bloq.where_seen(hook.get_access_token()) == {"nodes"}
    assert "pass" not in json.dumps(node.public())
    hook.nodes.delete(node.id)


def test_a_lost_answer_to_a_create_is_never_answered_with_a_second_create(bloq: LocalStack) -> None:
    hook = BloqHook()
    before = {node.id for node in hook.nodes.list()}
    service = bloq.bloq.service_id("btc")
    bloq.bloq.add_fault(Fault(kind=FaultKind.LOST_RESPONSE, service="nodes", method="POST"))
    with pytest.raises(BloqAmbiguousCreate) as lost:
        hook.nodes.create(service)
    new = {node.id for node in hook.nodes.list()} - before
    assert set(lost.value.candidates) == new
    assert len(new) == 1
    bloq.bloq.add_fault(Fault(kind=FaultKind.LOST_RESPONSE, service="nodes", method="POST"))
    adopted = hook.nodes.create(service, exclusive_creates=True)
    assert adopted.id not in before | new
    assert len(hook.nodes.list()) == len(before) + 2


def test_business_errors_are_typed_and_cost_no_token(bloq: LocalStack) -> None:
    hook = BloqHook()
    with pytest.raises(BloqNotFound):
        hook.nodes.get("node-0")
    bloq.bloq.add_fault(Fault(kind=FaultKind.LIMIT_EXCEEDED, service="nodes", method="POST"))
    with pytest.raises(BloqQuotaExceeded):
        hook.nodes.create(bloq.bloq.service_id("btc"))
    with pytest.raises(BloqConfigurationError, match="auth_type"):
        hook.nodes.create("x", "none")
    assert bloq.bloq.counters().mints == 1


def test_a_loopback_node_is_refused_outside_of_the_local_environment(
    bloq: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = BloqHook().nodes.create(bloq.bloq.service_id("btc"))
    connect(bloq, monkeypatch, environment="staging")
    with pytest.raises(BloqUnsafeAddress, match="loopback"):
        BloqHook().rpc(node.id).call("getblockcount")


def test_the_connection_test_neither_uses_nor_leaves_a_token(
    bloq: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, message = BloqHook().test_connection()
    assert good
    assert "version" in message
    assert len(shared_providers) == 0
    BloqHook().nodes.list()
    assert bloq.bloq.counters().mints == 2
    connect(bloq, monkeypatch, vault_path="bloq/missing")
    good, message = BloqHook().test_connection()
    assert not good
    assert "vault_path" in message


@pytest.mark.slow
def test_twenty_seconds_with_six_second_tokens_cost_one_reading_and_one_mint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared_providers.forget()
    pause = threading.Event()
    with LocalStack(LocalBloqOptions(access_token_seconds=6)) as stack:
        connect(stack, monkeypatch)
        hook = BloqHook()
        until = time.monotonic() + 20
        while time.monotonic() < until:
            assert hook.nodes.list() == []
            pause.wait(0.2)
        counts = stack.bloq.counters()
        assert (stack.key_reads(), counts.mints, sum(counts.unauthorized.values())) == (1, 1, 0)
        assert counts.refreshes > 2
