"""Sending a transaction: never in vain twice, and never reported as failed when it was sent."""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.io import attach
from fsspec import AbstractFileSystem

from airflow_provider_bloq.connect.raw_transactions import RawTransaction
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqTransactionRefused, BloqUnavailable
from airflow_provider_bloq.operators.connect import BloqSendTransactionOperator
from airflow_provider_bloq.testing.bitcoind import Bitcoind, BitcoinPayment, pay
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from tests.connect.conftest import Ask, fresh_payment
from tests.hooks.conftest import Connect
from tests.support.raw_server import RawConnection, Serve

pytestmark = pytest.mark.bitcoind
SEND = "/tx/send"


def sender(payment: BitcoinPayment | None = None, **options: Any) -> BloqSendTransactionOperator:
    given = {"raw_transaction": payment.raw} if payment else {}
    return BloqSendTransactionOperator(task_id="send", chain="btc", **given, **options)


def fault(kind: FaultKind, **options: Any) -> Fault:
    return Fault(kind=kind, service="connect", method="POST", path=f"*{SEND}", **options)


def test_ids_are_those_that_the_node_computes(bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin, outputs=300)
    coinbase = bitcoin.rpc("getblock", bitcoin.block_hash(7), 2)["tx"][0]
    for raw in (payment.raw, coinbase["hex"], fresh_payment(bitcoin).raw):
        assert RawTransaction.read(raw).txid == bitcoin.rpc("decoderawtransaction", raw)["txid"]


def test_a_transaction_is_sent_once(ask: Ask, bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin)
    assert ask("send", raw_transaction=payment.raw) == payment.txid
    assert bitcoin.rpc("getrawmempool") == [payment.txid]


def test_one_that_waits_or_is_in_the_chain_is_not_sent_again(
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


@pytest.mark.parametrize("kind", [FaultKind.LOST_RESPONSE, FaultKind.TRUNCATED_JSON])
def test_a_lost_answer_is_no_failure(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any], kind: FaultKind
) -> None:
    payment = fresh_payment(bitcoin)
    bloq.add_fault(fault(kind))
    assert sender(payment).execute(context) == {"txid": payment.txid, "sent": True}
    assert bitcoin.rpc("getrawmempool") == [payment.txid]
    assert list(bloq.faults_struck().values()) == [1]


def test_one_that_did_not_arrive_can_be_sent_by_the_next_try(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    payment = fresh_payment(bitcoin)
    bloq.add_fault(fault(FaultKind.RESET))
    with pytest.raises(BloqUnavailable):
        sender(payment).execute(context)
    assert bitcoin.rpc("getrawmempool") == []
    assert sender(payment).execute(context) == {"txid": payment.txid, "sent": True}


def test_one_that_was_sent_though_the_look_after_it_failed_is_found_by_the_next_try(
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


def test_a_refusal_tells_whether_it_may_pass(
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


def test_it_is_read_from_a_file(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any], tmp_path: Path
) -> None:
    payment = fresh_payment(bitcoin)
    (tmp_path / "signed.hex").write_text(f"{payment.raw}\n")
    path = f"file://{tmp_path}/signed.hex"
    assert sender(raw_transaction_path=path).execute(context) == {"txid": payment.txid, "sent": True}
    with pytest.raises(BloqConfigurationError, match="raw_transaction_path"):
        sender(raw_transaction_path=f"file://{tmp_path}/missing.hex").execute(context)


class HttpStore(AbstractFileSystem):  # type: ignore[misc]
    """Files by their URLs. What the socket says is told as it is, as stores do; fsspec's own has them all missing."""

    def _open(self, path: str, mode: str = "rb", **options: Any) -> io.BytesIO:
        url = urlsplit(path)
        connection = http.client.HTTPConnection(url.netloc, timeout=60)
        connection.request("GET", url.path)
        answer = connection.getresponse()
        if answer.status == 403:
            raise PermissionError(path)
        return io.BytesIO(answer.read())


def test_a_store_that_cannot_be_reached_for_now_is_left_to_the_next_try(
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


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("file:///tmp/", "folder"),
        ("file:///tmp", "IsADirectoryError"),
        ("file:///dev/null/x.hex", "NotADirectoryError"),
        ("nosuch://bucket/x.hex", "no storage for nosuch://"),
        ("", "empty"),
    ],
)
def test_a_path_that_names_no_file_is_told_by_its_own_name(
    connect: Connect, context: dict[str, Any], path: str, told: str
) -> None:
    connect("http://127.0.0.1:9", "http://127.0.0.1:9")
    with pytest.raises(BloqConfigurationError, match=told) as refused:
        sender(raw_transaction_path=path).execute(context)
    assert refused.value.fields == ("raw_transaction_path",)


def test_exactly_one_source_is_named() -> None:
    given_ones: list[dict[str, Any]] = [{}, {"raw_transaction": "00", "raw_transaction_path": "file:///x"}]
    for given in given_ones:
        with pytest.raises(BloqConfigurationError, match="raw_transaction"):
            sender(**given)
