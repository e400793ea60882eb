"""Sending a transaction: at most once, and never reported as failed if it was sent."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.io import attach
from fsspec import AbstractFileSystem

from airflow_provider_bloq.connect.client import SendResult, send_once
from airflow_provider_bloq.connect.raw_transactions import RawTransaction
from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqConfigurationError,
    BloqRateLimited,
    BloqTransactionRefused,
    BloqUnavailable,
)
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.operators.connect import BloqSendTransactionOperator
from airflow_provider_bloq.testing.bitcoind import Bitcoind, BitcoinPayment, pay
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from tests.connect.conftest import Ask, ScriptedConnect, fresh_payment
from tests.hooks.conftest import Connect
from tests.support.raw_server import RawConnection, Serve

SEND = "/tx/send"


def sender(payment: BitcoinPayment | None = None, **options: Any) -> BloqSendTransactionOperator:
    given = {"raw_transaction": payment.raw} if payment else {}
    return BloqSendTransactionOperator(task_id="send", chain="btc", **given, **options)


def fault(kind: FaultKind, **options: Any) -> Fault:
    return Fault(kind=kind, service="connect", method="POST", path=f"*{SEND}", **options)


@pytest.mark.bitcoind
def test_computed_ids_match_the_node(bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin, outputs=300)
    coinbase = bitcoin.rpc("getblock", bitcoin.block_hash(7), 2)["tx"][0]
    for raw in (payment.raw, coinbase["hex"], fresh_payment(bitcoin).raw):
        assert RawTransaction.read(raw).txid == bitcoin.rpc("decoderawtransaction", raw)["txid"]


@pytest.mark.bitcoind
def test_a_transaction_is_sent(ask: Ask, bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin)
    assert ask("send", raw_transaction=payment.raw) == payment.txid
    assert bitcoin.rpc("getrawmempool") == [payment.txid]


@pytest.mark.bitcoind
def test_a_known_transaction_is_not_sent_again(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    payment = fresh_payment(bitcoin)
    assert sender(payment).execute(context) == {"txid": payment.txid, "sent": True}
    assert sender(payment).execute(context) == {"txid": payment.txid, "sent": False}
    bitcoin.mine()
    assert sender(payment).execute(context) == {"txid": payment.txid, "sent": False}
    # Its output is spent by now: a node would take it for a double spend.
    bitcoin.mine_only(pay(payment.coins, fee=2_000))
    bloq.add_fault(fault(FaultKind.STATUS, status=500))
    assert sender(payment).execute(context) == {"txid": payment.txid, "sent": False}
    assert list(bloq.faults_struck().values()) == [0]


@pytest.mark.bitcoind
def test_a_lost_answer_is_not_a_failure(bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]) -> None:
    for kind in (FaultKind.LOST_RESPONSE, FaultKind.TRUNCATED_JSON):
        payment = fresh_payment(bitcoin)
        struck = bloq.add_fault(fault(kind))
        assert sender(payment).execute(context) == {"txid": payment.txid, "sent": True}
        assert payment.txid in bitcoin.rpc("getrawmempool")
        assert bloq.faults_struck()[struck] == 1


@pytest.mark.bitcoind
def test_a_transaction_that_did_not_arrive_is_sent_by_the_next_try(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    payment = fresh_payment(bitcoin)
    bloq.add_fault(fault(FaultKind.RESET))
    with pytest.raises(BloqUnavailable):
        sender(payment).execute(context)
    assert bitcoin.rpc("getrawmempool") == []
    assert sender(payment).execute(context) == {"txid": payment.txid, "sent": True}


@pytest.mark.bitcoind
def test_a_sent_transaction_is_found_by_the_next_try(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    payment = fresh_payment(bitcoin)
    bloq.add_fault(fault(FaultKind.LOST_RESPONSE))
    look = {"service": "connect", "method": "GET", "path": "*/tx/*", "after": 1, "times": None, "status": 500}
    bloq.add_fault(Fault(kind=FaultKind.STATUS, **look))  # type: ignore[arg-type]
    with pytest.raises(BloqUnavailable):
        sender(payment).execute(context)
    bloq.clear_faults()
    assert sender(payment).execute(context) == {"txid": payment.txid, "sent": False}


@pytest.mark.bitcoind
def test_a_refusal_says_whether_it_may_be_temporary(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    coin = bitcoin.coin()
    bitcoin.mine_only(pay([coin], fee=2_000))
    with pytest.raises(BloqTransactionRefused) as refused:
        sender(pay([coin], fee=3_000)).execute(context)
    assert refused.value.retryable
    free = pay([bitcoin.coin()], fee=0)
    with pytest.raises(BloqTransactionRefused) as refused:
        sender(free).execute(context)
    assert (refused.value.retryable, refused.value.tx_hash) == (False, free.txid)


@pytest.mark.bitcoind
def test_the_transaction_is_read_from_a_file(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any], tmp_path: Path
) -> None:
    payment = fresh_payment(bitcoin)
    (tmp_path / "signed.hex").write_text(f"{payment.raw}\n")
    path = f"file://{tmp_path}/signed.hex"
    assert sender(raw_transaction_path=path).execute(context) == {"txid": payment.txid, "sent": True}
    with pytest.raises(BloqConfigurationError, match="raw_transaction_path"):
        sender(raw_transaction_path=f"file://{tmp_path}/missing.hex").execute(context)


class HttpStore(AbstractFileSystem):  # type: ignore[misc]
    """Files by their URLs. Passes on errors of the socket, as stores do; fsspec's own class reports missing files."""

    def _open(self, path: str, mode: str = "rb", **options: Any) -> io.BytesIO:
        url = urlsplit(path)
        connection = http.client.HTTPConnection(url.netloc, timeout=60)
        connection.request("GET", url.path)
        answer = connection.getresponse()
        if answer.status == 403:
            raise PermissionError(path)
        return io.BytesIO(answer.read())


@pytest.mark.bitcoind
def test_storage_that_cannot_be_reached_is_left_to_the_next_try(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any], serve: Serve
) -> None:
    payment = fresh_payment(bitcoin)
    answers: list[Callable[[RawConnection], None]] = [
        RawConnection.reset,
        lambda connection: connection.reply(403),
        lambda connection: connection.reply(200, payment.raw.encode()),
    ]
    attach("http", fs=HttpStore())
    server = serve(lambda connection, _: answers.pop(0)(connection))
    task = sender(raw_transaction_path=f"{server.url}/signed.hex")
    with pytest.raises(OSError) as broken:
        task.execute(context)
    assert not isinstance(broken.value, BloqConfigurationError | AirflowFailException)
    with pytest.raises(BloqConfigurationError, match="PermissionError") as refused:
        task.execute(context)
    assert isinstance(refused.value, AirflowFailException)
    assert task.execute(context) == {"txid": payment.txid, "sent": True}


def test_an_invalid_path_is_refused(connect: Connect, context: dict[str, Any]) -> None:
    connect("http://127.0.0.1:9", "http://127.0.0.1:9")
    for path, told in (
        ("file:///tmp/", "folder"),
        ("file:///tmp", "IsADirectoryError"),
        ("file:///dev/null/x.hex", "NotADirectoryError"),
        ("nosuch://bucket/x.hex", "no storage for nosuch://"),
        ("", "empty"),
    ):
        with pytest.raises(BloqConfigurationError, match=told) as refused:
            sender(raw_transaction_path=path).execute(context)
        assert refused.value.fields == ("raw_transaction_path",)


def test_exactly_one_source_is_required() -> None:
    given_ones: list[dict[str, Any]] = [{}, {"raw_transaction": "00", "raw_transaction_path": "file:///x"}]
    for given in given_ones:
        with pytest.raises(BloqConfigurationError, match="raw_transaction"):
            sender(**given)


#: The first Bitcoin transaction.
RAW = (
    "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d0104455468"
    "652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261"
    "696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e0"
    "3909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"
)
TXID = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"


@pytest.fixture
def refusing(scripted: ScriptedConnect) -> ScriptedConnect:
    """A Connect that knows no transaction and refuses to take one."""
    scripted.answer_to_get = (404, b"Not found")
    return scripted


def send() -> SendResult:
    client = BloqHook().connect("btc", "mainnet")
    client.policy = replace(client.policy, attempts=1)
    return client.run(send_once(client, RawTransaction.read(RAW)))


def test_the_reason_of_a_refusal_is_read_in_any_form(refusing: ScriptedConnect) -> None:
    spent, known = "bad-txns-inputs-missingorspent. Code:-25", "txn-already-in-mempool. Code:-27"
    for body in (spent, json.dumps(spent), json.dumps({"message": spent})):
        refusing.answer = (400, body.encode())
        with pytest.raises(BloqTransactionRefused, match="missingorspent") as refused:
            send()
        assert (refused.value.retryable, refused.value.tx_hash) == (True, TXID)
    for body in (known, json.dumps(known)):
        refusing.answer = (400, body.encode())
        assert send() == SendResult(TXID, sent=False)
    refusing.answer = (400, b"TX decode failed. Code:-22\n")
    with pytest.raises(BloqTransactionRefused, match="TX decode failed. Code:-22") as refused:
        send()
    assert not refused.value.retryable


def test_a_rate_limit_and_another_id_leave_it_to_the_next_try(refusing: ScriptedConnect) -> None:
    refusing.answer = (429, b"slow down")
    with pytest.raises(BloqRateLimited):
        send()
    refusing.answer = (200, json.dumps({"txid": "ab" * 32}).encode())
    with pytest.raises(BloqUnavailable, match=f"{TXID} but answered"):
        send()


def test_a_body_that_is_not_a_reason_is_not_quoted(refusing: ScriptedConnect) -> None:
    for status, body in (
        (400, b"<html>Welcome to the hotel</html>"),
        (400, b"\xff\xfe hotel"),
        (400, b"\x00\x1b[31m hotel"),
        (400, b'{"message": "hotel'),
        (400, b'["hotel"]'),
        (400, b"hotel " + RAW.encode()),
        (400, b"hotel " * 1000),
        (500, b"hotel"),
        (400, b""),
    ):
        refusing.answer = (status, body)
        with pytest.raises(BloqApiError, match=f"answered {status}$") as failed:
            refusing.ask("send", raw_transaction=RAW)
        assert (failed.value.detail, failed.value.status) == (None, status)


def test_a_long_reason_keeps_its_code(refusing: ScriptedConnect) -> None:
    refusing.answer = (400, b"mandatory-script-verify-flag-failed " * 20 + b". Code:-26")
    with pytest.raises(BloqApiError) as failed:
        refusing.ask("send", raw_transaction=RAW)
    reason = failed.value.detail or ""
    assert len(reason) == 200
    assert reason.startswith("mandatory-script")
    assert reason.endswith("Code:-26")
