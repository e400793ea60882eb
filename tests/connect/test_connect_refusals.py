"""Refusals that Connect tells in plain text, as Insight does: read as the reason, and never more than that."""

from __future__ import annotations

import json

import pytest

from airflow_provider_bloq.connect.client import SendResult, send_once
from airflow_provider_bloq.exceptions import BloqApiError, BloqTransactionRefused
from airflow_provider_bloq.hooks.bloq import BloqHook
from tests.connect.conftest import Ask, asker
from tests.hooks.conftest import Connect
from tests.support.drivers import DriverKind
from tests.support.raw_server import RawConnection, RawServer, SeenRequest, Serve

#: The first transaction of all.
RAW = (
    "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d0104455468"
    "652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261"
    "696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e0"
    "3909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"
)
TXID = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
SPENT = "bad-txns-inputs-missingorspent. Code:-25"
KNOWN = "txn-already-in-mempool. Code:-27"


def refusing(serve: Serve, connect: Connect, body: bytes, status: int = 400) -> RawServer:
    """Have ``bloq_default`` lead to a Connect that knows no transaction and takes none."""

    def script(connection: RawConnection, request: SeenRequest) -> None:
        if request.target == "/auth/token":
            connection.reply(200, b'{"accessToken": "a-token"}')
        elif request.method == "GET":
            connection.reply(404, b"Not found")
        else:
            connection.reply(status, body)

    server = serve(script)
    connect(server.url, server.url, extra={"connect_url": server.url})
    return server


@pytest.fixture
def ask(kind: DriverKind) -> Ask:
    """Ask the scripted Connect by an operation, with the blocking or the async hook."""
    return asker(kind)


def send() -> SendResult:
    from airflow_provider_bloq.connect.raw_transactions import RawTransaction

    client = BloqHook().connect("btc")
    return client.run(send_once(client, RawTransaction.read(RAW)))


@pytest.mark.parametrize(
    "body", [SPENT.encode(), json.dumps(SPENT).encode(), json.dumps({"message": SPENT}).encode()]
)
def test_the_reason_is_read_in_any_form_and_tells_that_it_may_pass(
    connect: Connect, serve: Serve, body: bytes
) -> None:
    refusing(serve, connect, body)
    with pytest.raises(BloqTransactionRefused, match="missingorspent") as refused:
        send()
    assert (refused.value.retryable, refused.value.tx_hash) == (True, TXID)


@pytest.mark.parametrize("body", [KNOWN.encode(), json.dumps(KNOWN).encode()])
def test_one_that_the_node_has_is_sent_even_if_it_is_not_shown_yet(
    connect: Connect, serve: Serve, body: bytes
) -> None:
    refusing(serve, connect, body)
    assert send() == SendResult(TXID, sent=False)


def test_a_reason_that_does_not_pass_is_told(connect: Connect, serve: Serve) -> None:
    refusing(serve, connect, b"TX decode failed. Code:-22\n")
    with pytest.raises(BloqTransactionRefused, match="TX decode failed. Code:-22") as refused:
        send()
    assert not refused.value.retryable


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b"<html>Welcome to the hotel</html>"),
        (400, b"\xff\xfe hotel"),
        (400, b"\x00\x1b[31m hotel"),
        (400, b'{"message": "hotel'),
        (400, b'["hotel"]'),
        (400, b"hotel " + RAW.encode()),
        (400, b"hotel " * 1000),
        (500, b"hotel"),
        (400, b""),
    ],
    ids=["page", "bytes", "control", "cut", "list", "echo", "long", "server", "empty"],
)
def test_what_is_no_reason_is_not_quoted(
    connect: Connect, serve: Serve, ask: Ask, status: int, body: bytes
) -> None:
    refusing(serve, connect, body, status)
    with pytest.raises(BloqApiError, match=f"answered {status}$") as failed:
        ask("send", raw_transaction=RAW)
    assert (failed.value.detail, failed.value.status) == (None, status)


def test_a_long_reason_keeps_its_code(connect: Connect, serve: Serve, ask: Ask) -> None:
    refusing(serve, connect, b"mandatory-script-verify-flag-failed " * 20 + b". Code:-26")
    with pytest.raises(BloqApiError) as failed:
        ask("send", raw_transaction=RAW)
    told = failed.value.detail or ""
    assert len(told) == 200
    assert told.startswith("mandatory-script")
    assert told.endswith("Code:-26")
