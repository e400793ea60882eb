"""Histories of addresses: each row once and no block left out, whatever the chain and Connect's index do meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_bloq.connect.history import REREAD_BLOCKS, transactions_since
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqListShifted,
    BloqReorg,
    BloqUnavailable,
)
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.operators.connect import BloqAddressHistoryOperator
from airflow_provider_bloq.testing.bitcoind import Bitcoind, BitcoinPayment, Coin, pay
from airflow_provider_bloq.testing.local import LocalBloq
from tests.connect.conftest import SEGWIT, Changing, ScriptedConnect, address_of, as_json, fresh_payment

pytestmark = pytest.mark.bitcoind


def history(*addresses: str, **options: Any) -> BloqAddressHistoryOperator:
    return BloqAddressHistoryOperator(task_id="history", chain="btc", addresses=addresses, **options)


def script_address(node: Bitcoind, script: str) -> str:
    """Return the address of an output script."""
    address: str = node.rpc("decodescript", script)["address"]
    return address


def owner_of(node: Bitcoind, coin: Coin) -> str:
    """Return the address that has a coin."""
    return script_address(node, node.rpc("gettxout", coin.txid, coin.index)["scriptPubKey"]["hex"])


def key_of(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["txid"], row["direction"], row["index"]


def paid(payment: BitcoinPayment, *indexes: int) -> set[tuple[str, str, int]]:
    return {(payment.txid, "in", index) for index in indexes}


def test_a_history_continues_without_gaps_or_duplicates(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    first = fresh_payment(bitcoin, outputs=2)
    start = bitcoin.height + 1
    address = address_of(bitcoin, first)
    bitcoin.mine_only(first)
    told = history(address, from_height=start).execute(context)
    assert as_json(told) == told
    assert {key_of(row) for row in told["rows"]} == paid(first, 0, 1)
    assert {row["amount_sat"] for row in told["rows"]} == {first.coins[0].satoshi}
    assert (told["from_height"], told["cursor"]["height"]) == (start, bitcoin.height)
    nothing = history(address, cursor=told).execute(context)
    assert (nothing["rows"], nothing["cursor"]) == ([], told["cursor"])
    second = pay(first.coins[:1], fee=2_000)
    bitcoin.mine_only(second)
    bitcoin.send(pay(second.coins, fee=2_000))
    more = history(address, cursor=json.dumps(told["cursor"])).execute(context)
    assert {key_of(row) for row in more["rows"]} == {(second.txid, "out", 0)} | paid(second, 0)
    assert {row["confirmations"] for row in more["rows"]} == {1}


def test_only_blocks_with_enough_confirmations_are_read(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    payment = fresh_payment(bitcoin)
    start = bitcoin.height + 1
    bitcoin.mine_only(payment)
    address = address_of(bitcoin, payment)
    early = history(address, from_height=start, confirmations=2).execute(context)
    assert (early["rows"], early["cursor"]) == ([], None)
    bitcoin.mine_only()
    late = history(address, from_height=str(start), confirmations="2").execute(context)
    assert [key_of(row) for row in late["rows"]] == [(payment.txid, "in", 0)]
    assert late["rows"][0]["confirmations"] == 2


def test_replaced_blocks_are_read_again_after_a_reorg(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    kept, lost = fresh_payment(bitcoin), fresh_payment(bitcoin)
    start = bitcoin.height + 1
    bitcoin.mine_only(kept)
    bitcoin.mine_only(lost)
    bitcoin.mine_only()
    bitcoin.mine_only()
    address = address_of(bitcoin, kept)
    told = history(address, from_height=start).execute(context)
    assert {kept.txid, lost.txid} == {row["txid"] for row in told["rows"]}
    bitcoin.fork(3)
    anew = history(address, cursor=told).execute(context)
    assert anew["reorganised"]
    assert anew["from_height"] <= start
    txids = {row["txid"] for row in anew["rows"]}
    assert kept.txid in txids
    assert lost.txid not in txids
    bitcoin.mine()
    again = history(address, cursor=anew).execute(context)
    assert not again["reorganised"]
    assert {row["txid"] for row in again["rows"]} == {lost.txid}


def test_an_invalid_cursor_is_refused(bloq: LocalBloq, context: dict[str, Any]) -> None:
    cursors: list[Any] = [{"height": 1}, "{'height': 1}", 7, {"cursor": []}]
    for cursor in cursors:
        with pytest.raises(BloqConfigurationError, match="tojson"):
            history("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", cursor=cursor).execute(context)


def test_addresses_are_a_list_of_texts(bloq: LocalBloq, context: dict[str, Any]) -> None:
    wrong_ones: list[Any] = [[], "", [7]]
    for wrong in wrong_ones:
        with pytest.raises(BloqConfigurationError, match="addresses"):
            BloqAddressHistoryOperator(task_id="history", chain="btc", addresses=wrong).execute(context)


def test_a_list_that_keeps_changing_is_an_error(scripted: ScriptedConnect) -> None:
    scripted.answer = (200, b'{"totalItems": 5, "items": []}')
    client = BloqHook().connect("btc", "mainnet")
    with pytest.raises(BloqListShifted):
        client.run(transactions_since(client, [SEGWIT], 0))
    lists = [request for request in scripted.server.requests if request.target.endswith("/addrs/txs")]
    assert len(lists) == 5


def test_an_address_given_twice_is_read_once(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    payment = fresh_payment(bitcoin)
    bitcoin.mine_only(payment)
    address = address_of(bitcoin, payment)
    told = history(address, address.upper(), f" {address}", from_height=bitcoin.height).execute(context)
    assert [(row["txid"], row["address"]) for row in told["rows"]] == [(payment.txid, address)]


def test_a_transaction_between_two_of_many_addresses_is_listed_once(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    coin = bitcoin.coin()
    sender, payment = owner_of(bitcoin, coin), pay([coin], fee=2_000)
    bitcoin.mine_only(payment)
    receiver = address_of(bitcoin, payment)
    # A request takes fifty addresses: these two are not in the same one.
    others = [script_address(bitcoin, f"0020{number:064x}") for number in range(50)]
    told = history(sender, *others, receiver, from_height=bitcoin.height).execute(context)
    rows = [(row["direction"], row["address"]) for row in told["rows"] if row["txid"] == payment.txid]
    assert rows == [("out", sender), ("in", receiver)]


def test_a_block_that_is_not_indexed_yet_is_left_to_the_next_run(
    changing: Changing, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    payment = fresh_payment(bitcoin)
    before = bitcoin.height
    bitcoin.mine_only(payment)
    address = address_of(bitcoin, payment)
    behind = [True]

    def index(path: str, status: int, body: bytes) -> tuple[int, bytes]:
        if not behind:
            return status, body
        told = json.loads(body)
        if path.endswith("/sync"):
            told["height"] = before
        elif path.endswith("/addrs/txs"):
            told["items"] = [item for item in told["items"] if item["blockheight"] <= before]
        return status, json.dumps(told).encode()

    changing(index)
    early = history(address, from_height=before).execute(context)
    assert early["cursor"]["height"] == before
    assert payment.txid not in {row["txid"] for row in early["rows"]}
    behind.clear()
    late = history(address, cursor=early).execute(context)
    assert [row["txid"] for row in late["rows"]] == [payment.txid]


@pytest.mark.parametrize("of_the_cursor", [(404, b"Not found"), (200, b'{"blockHash": "another"}')])
def test_an_index_behind_the_cursor_is_not_a_reorg(
    changing: Changing, bitcoin: Bitcoind, context: dict[str, Any], of_the_cursor: tuple[int, bytes]
) -> None:
    payment = fresh_payment(bitcoin)
    before = bitcoin.height
    bitcoin.mine_only(payment)
    address = address_of(bitcoin, payment)
    behind: list[bool] = []

    def index(path: str, status: int, body: bytes) -> tuple[int, bytes]:
        if behind and path.endswith("/sync"):
            return status, json.dumps(json.loads(body) | {"height": before}).encode()
        return of_the_cursor if behind and path.endswith(f"/block-index/{before + 1}") else (status, body)

    changing(index)
    told = history(address, from_height=before).execute(context)
    behind.append(True)
    late = history(address, from_height=before, cursor=told).execute(context)
    # With the documented recipe, no row is deleted and none inserted.
    assert (late["rows"], late["reorganised"], late["cursor"]) == ([], False, told["cursor"])
    assert late["from_height"] > late["cursor"]["height"]
    behind.clear()
    more = fresh_payment(bitcoin)
    bitcoin.mine_only(more)
    found = history(address, address_of(bitcoin, more), cursor=late).execute(context)
    assert (found["from_height"], found["reorganised"]) == (before + 2, False)
    assert more.txid in {row["txid"] for row in found["rows"]}
    assert payment.txid not in {row["txid"] for row in found["rows"]}


def test_a_block_without_a_known_hash_is_not_a_reorg(
    changing: Changing, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    address = address_of(bitcoin, fresh_payment(bitcoin))
    start = bitcoin.height
    told = history(address, from_height=start).execute(context)
    hidden = [start]
    changing(
        lambda path, status, body: (
            (404, b"Not found")
            if any(path.endswith(f"/block-index/{height}") for height in hidden)
            else (status, body)
        )
    )
    late = history(address, from_height=0, cursor=told).execute(context)
    assert (late["rows"], late["reorganised"], late["cursor"]) == ([], False, told["cursor"])
    bitcoin.mine_only()
    hidden[:] = [start + 1]
    with pytest.raises(BloqUnavailable, match=f"block {start + 1}"):
        history(address, cursor=told).execute(context)


def test_after_a_reorg_no_block_before_from_height_is_read(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    payment = fresh_payment(bitcoin)
    bitcoin.mine_only(payment)
    bitcoin.mine_only()
    start = bitcoin.height
    address = address_of(bitcoin, payment)
    told = history(address, from_height=start).execute(context)
    bitcoin.fork(1)
    anew = history(address, from_height=start, cursor=told).execute(context)
    assert (anew["reorganised"], anew["from_height"], anew["rows"]) == (True, start, [])
    far_back = history(address, from_height=0, cursor=told).execute(context)
    assert far_back["from_height"] == start - REREAD_BLOCKS + 1


def test_a_from_height_after_the_cursor_leaves_no_gap_on_a_reorg(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    address = address_of(bitcoin, fresh_payment(bitcoin))
    told = history(address, from_height=bitcoin.height).execute(context)
    bitcoin.fork(1)
    anew = history(address, from_height=bitcoin.height + 50, cursor=told).execute(context)
    assert anew["from_height"] == told["cursor"]["height"] + 1


def test_a_reorg_during_a_run_is_an_error(
    changing: Changing, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    payment = fresh_payment(bitcoin)
    bitcoin.mine_only(payment)
    address = address_of(bitcoin, payment)
    told = history(address, from_height=bitcoin.height).execute(context)
    bitcoin.mine_only()
    hashes_told: list[str] = []

    def forking(path: str, status: int, body: bytes) -> tuple[int, bytes]:
        if "/block-index/" in path:
            hashes_told.append(path)
            if len(hashes_told) == 1:
                bitcoin.fork(3)
        return status, body

    changing(forking)
    with pytest.raises(BloqReorg):
        history(address, cursor=told).execute(context)
    assert history(address, cursor=told).execute(context)["reorganised"]
