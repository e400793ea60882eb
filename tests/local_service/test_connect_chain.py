"""Connect's routes of blocks, transactions and the node itself, held against the node's own answers."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.local import Fault, FaultKind
from tests.local_service.conftest import Start
from tests.local_service.connect_caller import ConnectCaller
from tests.support.shared_chain import SharedChain

pytestmark = pytest.mark.bitcoind

UNKNOWN = "0" * 63 + "1"
ENDLESS = "1" * 5_000


def test_a_block_is_as_the_node_tells_it(connect: ConnectCaller, regtest: Bitcoind) -> None:
    regtest.send(pay([regtest.coin()], fee=5_000))
    regtest.mine()
    hashes = [regtest.block_hash(height) for height in (0, regtest.height - 1, regtest.height)]
    for block in hashes:
        told = connect.get(f"/block/{block}")
        node = regtest.rpc("getblock", block, 1)
        for name in ("hash", "size", "height", "merkleroot", "tx", "time", "bits", "confirmations"):
            assert told[name] == node[name]
        assert told.get("nextblockhash") == node.get("nextblockhash")
        assert told.get("previousblockhash") == node.get("previousblockhash")
        assert told["isMainChain"] is True
        assert connect.get(f"/rawblock/{block}") == {"rawblock": regtest.rpc("getblock", block, 0)}
        assert connect.get(f"/block-index/{told['height']}") == {"blockHash": block}
    coinbase = regtest.rpc("getblock", hashes[2], 2)["tx"][0]
    made = round(coinbase["vout"][0]["value"] * 100_000_000)
    assert connect.get(f"/block/{hashes[2]}")["reward"] * 100_000_000 == made - 5_000


def test_the_blocks_of_a_day_come_newest_first_and_no_more_than_asked_for(
    connect: ConnectCaller, regtest: Bitcoind
) -> None:
    newest = regtest.rpc("getblock", regtest.block_hash(regtest.height), 1)
    day = datetime.fromtimestamp(newest["time"], UTC).date()
    told = connect.get("/blocks", blockDate=str(day), limit=3)
    assert told["length"] == 3
    assert [row["height"] for row in told["blocks"]] == [regtest.height - back for back in range(3)]
    assert told["blocks"][0] == {
        "height": newest["height"],
        "size": newest["size"],
        "hash": newest["hash"],
        "time": newest["time"],
        "txlength": newest["nTx"],
        "poolInfo": {},
    }
    assert (told["pagination"]["more"], told["pagination"]["moreTs"]) == (True, told["blocks"][2]["time"])
    genesis = connect.get("/blocks", blockDate="2011-02-02")
    assert [row["height"] for row in genesis["blocks"]] == [0]
    assert genesis["pagination"]["more"] is False
    assert connect.get("/blocks", blockDate="2011-02-03")["blocks"] == []
    assert connect.send("GET", "/blocks?blockDate=3.2.2011").status_code == 400


def test_the_first_and_the_last_day_of_all_have_no_blocks(connect: ConnectCaller) -> None:
    for day in ("0001-01-01", "9999-12-31"):
        told = connect.get("/blocks", blockDate=day)
        assert (told["blocks"], told["pagination"]["current"], told["pagination"]["more"]) == ([], day, False)


def test_a_transaction_waits_and_is_confirmed(connect: ConnectCaller, regtest: Bitcoind) -> None:
    coin = regtest.coin()
    payment = pay([coin], fee=12_345, outputs=2)
    assert connect.post("/tx/send", rawtx=payment.raw) == {"txid": payment.txid}
    assert payment.txid in regtest.rpc("getrawmempool")
    waiting = connect.get(f"/tx/{payment.txid}")
    assert (waiting["confirmations"], waiting["blockheight"]) == (0, -1)
    assert "blockhash" not in waiting
    spending = pay(payment.coins[1:], fee=1_000)
    regtest.send(spending)
    (block,) = regtest.mine()
    regtest.mine()
    told = connect.get(f"/tx/{payment.txid}")
    node = regtest.rpc("getrawtransaction", payment.txid, 2)
    assert (told["confirmations"], told["blockhash"]) == (node["confirmations"], block)
    assert (told["blocktime"], told["size"], told["version"]) == (node["blocktime"], node["size"], 2)
    (vin,) = told["vin"]
    assert (vin["txid"], vin["vout"], vin["valueSat"]) == (coin.txid, coin.index, coin.satoshi)
    assert vin["addr"] == node["vin"][0]["prevout"]["scriptPubKey"]["address"]
    assert [Decimal(out["value"]) for out in told["vout"]] == [
        Decimal(str(out["value"])) for out in node["vout"]
    ]
    assert [out["spentTxId"] for out in told["vout"]] == [None, spending.txid]
    assert (told["vout"][1]["spentIndex"], told["vout"][1]["spentHeight"]) == (0, told["blockheight"])
    assert Decimal(told["fees"]) == Decimal(str(node["fee"]))
    assert Decimal(told["valueIn"]) - Decimal(told["valueOut"]) == Decimal(told["fees"])
    assert connect.get(f"/rawtx/{payment.txid}") == {"rawtx": payment.raw}


def test_a_coinbase_says_that_it_is_one(connect: ConnectCaller, regtest: Bitcoind) -> None:
    txid = regtest.rpc("getblock", regtest.block_hash(7), 1)["tx"][0]
    told = connect.get(f"/tx/{txid}")
    assert told["isCoinBase"] is True
    assert "coinbase" in told["vin"][0]
    assert "fees" not in told


def test_the_first_coinbase_of_all_has_bytes_as_well(connect: ConnectCaller, regtest: Bitcoind) -> None:
    (txid,) = regtest.rpc("getblock", regtest.block_hash(0), 1)["tx"]
    raw = connect.get(f"/rawtx/{txid}")["rawtx"]
    assert regtest.rpc("decoderawtransaction", raw)["txid"] == txid


def test_a_replaced_transaction_is_gone(connect: ConnectCaller, regtest: Bitcoind) -> None:
    coin = regtest.coin()
    first, better = pay([coin], fee=1_000), pay([coin], fee=50_000)
    regtest.send(first)
    assert connect.get(f"/tx/{first.txid}")["confirmations"] == 0
    regtest.send(better)
    assert connect.send("GET", f"/tx/{first.txid}").status_code == 404
    assert connect.get(f"/tx/{better.txid}")["confirmations"] == 0


def test_pages_of_ten(connect: ConnectCaller, regtest: Bitcoind) -> None:
    for by in ("block", "address"):
        payments = [pay([regtest.coin()], fee=2_000) for _ in range(12)]
        block = regtest.mine_only(*payments)
        txids = regtest.rpc("getblock", block, 1)["tx"]
        if by == "block":
            asked, expected, total = {"block": block}, txids, 2
        else:
            node = regtest.rpc("getrawtransaction", txids[1], 2)
            asked = {"address": node["vout"][0]["scriptPubKey"]["address"]}
            expected = txids[:0:-1]
            count = connect.get(f"/addr/{asked['address']}", noTxList=1)["txApperances"]
            total = -(-count // 10)
        pages = [connect.get("/txs", **asked, pageNum=number) for number in range(2)]
        assert [page["pagesTotal"] for page in pages] == [total, total]
        shown = [transaction["txid"] for page in pages for transaction in page["txs"]]
        assert shown[: len(expected)] == expected
        assert connect.get("/txs", **asked, pageNum=total)["txs"] == []


def test_data_that_is_not_a_transaction_is_refused(connect: ConnectCaller) -> None:
    for raw, reason in (
        ("zz", "Code:-22"),
        ("\ud800", "Code:-22"),
        ("ä", "Code:-22"),
        ("", "Missing parameter"),
        (None, "Missing parameter"),
    ):
        answer = connect.send("POST", "/tx/send", json={"rawtx": raw})
        assert answer.status_code == 400
        assert reason in answer.text


def test_a_transaction_without_a_fee_is_refused_with_the_nodes_reason(
    connect: ConnectCaller, regtest: Bitcoind
) -> None:
    answer = connect.send("POST", "/tx/send", json={"rawtx": pay([regtest.coin()], fee=0).raw})
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert answer.text.endswith(". Code:-26")


def test_the_format_of_a_refusal_is_an_option(start: Start, regtest: Bitcoind) -> None:
    for form in ("text", "json", "problem"):
        bloq = start(connect_refusal=form, connect_upstreams={"btc": lambda: SharedChain(regtest)})
        answer = ConnectCaller.of(bloq).send("POST", "/tx/send", json={"rawtx": "zz"})
        assert answer.status_code == 400
        told: Any = answer.text if form == "text" else answer.json()
        assert (told["detail"] if form == "problem" else told).endswith("Code:-22")


def test_an_answer_that_is_lost_does_not_undo_what_was_sent(
    connect: ConnectCaller, regtest: Bitcoind
) -> None:
    payment = pay([regtest.coin()], fee=2_000)
    connect.bloq.add_fault(Fault(kind=FaultKind.LOST_RESPONSE, service="connect", path="/tx/send"))
    with pytest.raises(OSError):
        connect.send("POST", "/tx/send", json={"rawtx": payment.raw})
    assert connect.get(f"/tx/{payment.txid}")["txid"] == payment.txid
    regtest.mine()
    again = connect.send("POST", "/tx/send", json={"rawtx": payment.raw})
    assert (again.status_code, "Code:-27" in again.text) == (400, True)


def test_status_tells_the_newest_block(connect: ConnectCaller, regtest: Bitcoind) -> None:
    for asked, name in (("getBestBlockHash", "bestblockhash"), ("getLastBlockHash", "lastblockhash")):
        assert connect.get("/status", q=asked)[name] == regtest.rpc("getbestblockhash")


def test_status_sync_and_peer(connect: ConnectCaller, regtest: Bitcoind) -> None:
    difficulty = regtest.rpc("getblockchaininfo")["difficulty"]
    assert float(connect.get("/status", q="getDifficulty")["difficulty"]) == difficulty
    info: dict[str, Any] = connect.get("/status")["info"]
    assert (info["blocks"], info["network"]) == (regtest.height, "regtest")
    assert connect.get("/status", q="getInfo")["info"] == info
    sync = connect.get("/sync")
    assert (sync["status"], sync["height"], sync["blockChainHeight"]) == (
        "finished",
        regtest.height,
        regtest.height,
    )
    assert connect.get("/peer")["connected"] is True


def test_fees_are_estimated_as_the_node_does(connect: ConnectCaller, regtest: Bitcoind) -> None:
    told = connect.get("/utils/estimatefee", nbBlocks="2,6")
    expected = {str(blocks): regtest.rpc("estimatesmartfee", blocks).get("feerate", -1) for blocks in (2, 6)}
    assert {name: float(rate) for name, rate in told.items()} == expected
    assert list(connect.get("/utils/estimatefee")) == ["2"]
    assert connect.send("GET", "/utils/estimatefee?nbBlocks=0").status_code == 400


def test_a_number_without_end_is_400(connect: ConnectCaller) -> None:
    for path in (
        f"/block-index/{ENDLESS}",
        f"/blocks?limit={ENDLESS}",
        f"/txs?block={UNKNOWN}&pageNum={ENDLESS}",
        f"/utils/estimatefee?nbBlocks={ENDLESS}",
    ):
        assert connect.send("GET", path).status_code == 400


def test_what_there_is_not_is_404(connect: ConnectCaller) -> None:
    for path in (
        f"/tx/{UNKNOWN}",
        f"/rawtx/{UNKNOWN}",
        f"/block/{UNKNOWN}",
        f"/rawblock/{UNKNOWN}",
        f"/txs?block={UNKNOWN}",
        "/block/x",
        "/block-index/1000000",
        "/nothing",
    ):
        assert connect.send("GET", path).status_code == 404
