"""Histories of addresses: each row once, no block left out, whatever Connect's index and the chain do meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_bloq.connect.history import REREAD_BLOCKS
from airflow_provider_bloq.exceptions import BloqApiError, BloqNotFound, BloqReorg, BloqUnavailable
from airflow_provider_bloq.operators.connect import BloqAddressHistoryOperator
from airflow_provider_bloq.testing.bitcoind import Bitcoind, Coin, pay
from airflow_provider_bloq.testing.local import LocalBloq
from tests.connect.conftest import Changing, address_of, asker, fresh_payment
from tests.support.drivers import DriverKind

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


def test_an_address_that_is_given_twice_is_read_once(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    payment = fresh_payment(bitcoin)
    bitcoin.mine_only(payment)
    address = address_of(bitcoin, payment)
    told = history(address, address.upper(), f" {address}", from_height=bitcoin.height).execute(context)
    assert [(row["txid"], row["address"]) for row in told["rows"]] == [(payment.txid, address)]


def test_a_transaction_between_two_of_many_addresses_is_told_once(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    coin = bitcoin.coin()
    sender, payment = owner_of(bitcoin, coin), pay([coin], fee=2_000)
    bitcoin.mine_only(payment)
    receiver = address_of(bitcoin, payment)
    # Fifty are asked about at once: so these two are not in the same request.
    others = [script_address(bitcoin, f"0020{number:064x}") for number in range(50)]
    told = history(sender, *others, receiver, from_height=bitcoin.height).execute(context)
    rows = [(row["direction"], row["address"]) for row in told["rows"] if row["txid"] == payment.txid]
    assert rows == [("out", sender), ("in", receiver)]


def test_a_block_that_the_index_has_not_taken_in_yet_is_left_to_the_next_run(
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
def test_an_index_that_falls_behind_the_cursor_is_no_reorg(
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
    # As the recipe has it, no row is deleted then and none inserted.
    assert (late["rows"], late["reorganised"], late["cursor"]) == ([], False, told["cursor"])
    assert late["from_height"] > late["cursor"]["height"]
    behind.clear()
    more = fresh_payment(bitcoin)
    bitcoin.mine_only(more)
    found = history(address, address_of(bitcoin, more), cursor=late).execute(context)
    assert (found["from_height"], found["reorganised"]) == (before + 2, False)
    assert more.txid in {row["txid"] for row in found["rows"]}
    assert payment.txid not in {row["txid"] for row in found["rows"]}


def test_a_block_of_which_the_hash_is_not_known_yet_is_no_reorg(
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


def test_after_a_reorg_nothing_before_the_first_block_is_read(
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


def test_a_first_block_after_the_cursor_leaves_no_gap_on_a_reorg(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    address = address_of(bitcoin, fresh_payment(bitcoin))
    told = history(address, from_height=bitcoin.height).execute(context)
    bitcoin.fork(1)
    anew = history(address, from_height=bitcoin.height + 50, cursor=told).execute(context)
    assert anew["from_height"] == told["cursor"]["height"] + 1


def test_a_reorg_between_two_looks_is_not_passed_over(
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


@pytest.mark.parametrize("as_text", [bytes, lambda told: json.dumps(told.decode()).encode()])
def test_a_height_out_of_range_is_a_block_that_there_is_not(
    changing: Changing, bitcoin: Bitcoind, kind: DriverKind, as_text: Callable[[bytes], bytes]
) -> None:
    def insight(path: str, status: int, body: bytes) -> tuple[int, bytes]:
        return (400, as_text(b"Block height out of range. Code:-8")) if status == 404 else (status, body)

    changing(insight)
    with pytest.raises(BloqNotFound) as missing:
        asker(kind)("block_hash", height=bitcoin.height + 1)
    assert missing.value.status == 400


def test_another_refusal_of_a_height_is_no_missing_block(
    changing: Changing, bitcoin: Bitcoind, kind: DriverKind
) -> None:
    changing(
        lambda path, status, body: (
            (400, b"The node is busy. Code:-28") if "block-index" in path else (status, body)
        )
    )
    with pytest.raises(BloqApiError) as refused:
        asker(kind)("block_hash", height=bitcoin.height + 1)
    assert not isinstance(refused.value, BloqNotFound)


def test_the_transactions_of_a_block_are_iterated_over_page_by_page(
    bloq: LocalBloq, bitcoin: Bitcoind, kind: DriverKind
) -> None:
    source = pay([bitcoin.coin()], fee=20_000, outputs=23)
    payments = [pay([coin], fee=2_000) for coin in source.coins]
    block_hash = bitcoin.mine_only(source, *payments)
    listed = bitcoin.rpc("getblock", block_hash)["tx"]
    bloq.reset_counters()
    assert [one.txid for one in asker(kind)("in_block", block_hash=block_hash)] == listed
    # The coinbase and the other 24, by ten.
    assert bloq.counters().calls["connect GET /txs"] == 3
