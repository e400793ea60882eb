"""Connect's routes of addresses, held against a replay of the node's blocks."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_bloq.testing.bitcoind import Bitcoind, BitcoinPayment, pay
from tests.local_service.connect_caller import ConnectCaller
from tests.local_service.replayed_chain import ReplayedChain, Sums, replay

pytestmark = pytest.mark.bitcoind

FEE = 2_000


def address_of(node: Bitcoind, payment: BitcoinPayment) -> str:
    address: str = node.rpc("decoderawtransaction", payment.raw)["vout"][0]["scriptPubKey"]["address"]
    return address


def coins_told(rows: list[dict[str, Any]]) -> dict[tuple[str, int], tuple[int, int]]:
    return {(row["txid"], row["vout"]): (row["satoshis"], row["confirmations"]) for row in rows}


def check_all(connect: ConnectCaller, chain: ReplayedChain) -> None:
    """Hold every address of the chain against the service; nothing may wait in the mempool."""
    for address, sums in chain.sums.items():
        told = connect.get(f"/addr/{address}")
        assert (told["totalReceivedSat"], told["totalSentSat"]) == (sums.received, sums.sent)
        assert told["balanceSat"] == sums.received - sums.sent
        assert told["transactions"] == sums.txids[::-1]
        assert (told["txApperances"], told["unconfirmedTxApperances"]) == (len(sums.txids), 0)
        assert coins_told(connect.get(f"/addrs/{address}/utxo")) == chain.coins_of(address)


def test_sums_histories_and_coins_of_every_address(connect: ConnectCaller, regtest: Bitcoind) -> None:
    first = pay([regtest.coin()], fee=FEE, outputs=4)
    regtest.mine_only(first, pay(first.coins[:2], fee=FEE))
    regtest.mine_only(pay([first.coins[2], regtest.coin()], fee=FEE, outputs=3))
    chain = replay(regtest)
    assert len(chain.sums) >= 2
    check_all(connect, chain)


def test_amounts_in_coins_and_in_satoshi_are_the_same(connect: ConnectCaller, regtest: Bitcoind) -> None:
    payment = pay([regtest.coin()], fee=1_234_567, outputs=3)
    regtest.mine_only(payment)
    address = address_of(regtest, payment)
    told = connect.get(f"/addr/{address}")
    assert told["addrStr"] == address
    for name in ("balance", "totalReceived", "totalSent", "unconfirmedBalance"):
        assert Decimal(told[name]) * 100_000_000 == told[f"{name}Sat"]
        assert connect.get(f"/addr/{address}/{name}") == told[f"{name}Sat"]


def test_what_waits_counts_as_unconfirmed_only(connect: ConnectCaller, regtest: Bitcoind) -> None:
    mined = pay([regtest.coin()], fee=FEE, outputs=2)
    regtest.mine_only(mined)
    address = address_of(regtest, mined)
    before = replay(regtest).sums[address]
    waiting = pay(mined.coins[:1], fee=FEE, outputs=2)
    child = pay(waiting.coins[:1], fee=FEE)
    for payment in (waiting, child):
        regtest.send(payment)
    told = connect.get(f"/addr/{address}")
    assert told["balanceSat"] == before.received - before.sent
    assert told["unconfirmedBalanceSat"] == -2 * FEE
    assert told["unconfirmedTxApperances"] == 2
    assert told["transactions"][:2] == [child.txid, waiting.txid]
    rows = connect.get(f"/addrs/{address}/utxo")
    coins = {(row["txid"], row["vout"]): row for row in rows}
    assert (mined.txid, 0) not in coins
    assert (waiting.txid, 0) not in coins
    assert (coins[child.txid, 0]["confirmations"], "height" in coins[child.txid, 0]) == (0, False)
    entered = regtest.rpc("getmempoolentry", child.txid)["time"]
    assert coins[child.txid, 0]["ts"] == entered
    assert coins[mined.txid, 1]["height"] == regtest.height


def test_a_part_of_the_history_or_none_of_it(connect: ConnectCaller, regtest: Bitcoind) -> None:
    payments = [pay([regtest.coin()], fee=FEE) for _ in range(4)]
    regtest.mine_only(*payments)
    path = f"/addr/{address_of(regtest, payments[0])}"
    newest = [payment.txid for payment in reversed(payments)]
    assert connect.get(path)["transactions"][:4] == newest
    assert connect.get(path, **{"from": 1, "to": 3})["transactions"] == newest[1:3]
    assert "transactions" not in connect.get(path, noTxList=1)


def test_transactions_of_several_addresses_come_once_each(connect: ConnectCaller, regtest: Bitcoind) -> None:
    payment = pay([regtest.coin()], fee=FEE)
    regtest.mine_only(payment)
    (spent,) = regtest.rpc("getblock", regtest.block_hash(regtest.height), 3)["tx"][1]["vin"]
    addresses = [address_of(regtest, payment), spent["prevout"]["scriptPubKey"]["address"]]
    as_list = connect.post("/addrs/txs", addrs=addresses)
    assert connect.post("/addrs/txs", addrs=",".join(addresses)) == as_list
    assert connect.get(f"/addrs/{','.join(addresses)}/txs") == as_list
    txids = {txid for address in addresses for txid in replay(regtest).sums[address].txids}
    assert (as_list["totalItems"], as_list["from"], as_list["to"]) == (len(txids), 0, 10)
    assert len({item["txid"] for item in as_list["items"]}) == 10
    pages = [
        item["txid"]
        for start in range(0, len(txids), 50)
        for item in connect.post("/addrs/txs", addrs=addresses, **{"from": start, "to": start + 50})["items"]
    ]
    assert (len(pages), set(pages)) == (len(txids), txids)


def test_scripts_and_spenders_are_left_out_on_request(connect: ConnectCaller, regtest: Bitcoind) -> None:
    made = pay([regtest.coin()], fee=FEE)
    spending = pay(made.coins, fee=FEE)
    regtest.mine_only(made, spending)
    address = address_of(regtest, made)
    whole = connect.post("/addrs/txs", addrs=[address], to=2)["items"][1]
    assert (whole["txid"], whole["vout"][0]["spentTxId"]) == (made.txid, spending.txid)
    assert "asm" in whole["vin"][0]["scriptSig"]
    bare = connect.post("/addrs/txs", addrs=[address], to=2, noAsm=True, noScriptSig=True, noSpent=True)
    assert "scriptSig" not in bare["items"][1]["vin"][0]
    assert "asm" not in bare["items"][1]["vout"][0]["scriptPubKey"]
    assert "spentTxId" not in bare["items"][1]["vout"][0]


def test_a_reorganisation_of_three_blocks(connect: ConnectCaller, regtest: Bitcoind) -> None:
    payments = [pay([regtest.coin()], fee=FEE) for _ in range(3)]
    address = address_of(regtest, payments[0])
    for payment in payments:
        regtest.mine_only(payment)
    assert connect.get(f"/tx/{payments[0].txid}")["confirmations"] == 3
    stale = regtest.block_hash(regtest.height)
    check_all(connect, replay(regtest))
    regtest.fork(3)
    after = replay(regtest).sums.get(address, Sums())
    told = connect.get(f"/addr/{address}")
    assert told["balanceSat"] == after.received - after.sent
    assert (told["unconfirmedTxApperances"], told["txApperances"]) == (3, len(after.txids))
    assert set(told["transactions"][:3]) == {payment.txid for payment in payments}
    seen = connect.get(f"/tx/{payments[0].txid}")
    assert (seen["confirmations"], seen["blockheight"], "blockhash" in seen) == (0, -1, False)
    gone = connect.get(f"/block/{stale}")
    assert (gone["isMainChain"], gone["confirmations"]) == (False, -1)
    regtest.mine()
    check_all(connect, replay(regtest))


def test_whatever_happens_to_the_chain_the_index_follows(connect: ConnectCaller, regtest: Bitcoind) -> None:
    chosen = random.Random(5)
    purse = list(pay([regtest.coin()], fee=FEE, outputs=20).coins)
    regtest.mine_only(pay([regtest.coin()], fee=FEE))
    regtest.send(pay([regtest.coin()], fee=FEE))
    regtest.mine()
    parent = pay([regtest.coin()], fee=FEE, outputs=len(purse))
    regtest.send(parent)
    free = list(parent.coins)
    for _ in range(12):
        match chosen.choice(["send", "send", "mine", "fork"]):
            case "send":
                payment = pay([free.pop(0)], fee=FEE)
                regtest.send(payment)
            case "mine":
                regtest.mine(chosen.randint(1, 2))
            case "fork":
                regtest.fork(chosen.randint(1, 4))
        connect.get("/sync")
    regtest.mine()
    check_all(connect, replay(regtest))


def test_an_address_must_be_one(connect: ConnectCaller) -> None:
    for path, detail in (
        ("/addr/nobody", "Invalid address: nobody"),
        ("/addrs/nobody,else/utxo", "Invalid address: nobody"),
        ("/txs?address=nobody", "Invalid address: nobody"),
        ("/txs", "Block hash or address expected"),
    ):
        answer = connect.send("GET", path)
        assert (answer.status_code, answer.json()["detail"]) == (400, detail)


def test_a_wrong_range_or_list_is_an_error(connect: ConnectCaller, regtest: Bitcoind) -> None:
    for body, detail in (
        ({}, "Must include address"),
        ({"addrs": []}, "Must include address"),
        ({"addrs": [1]}, "Must include address"),
        ({"addrs": "\ud800"}, "Invalid address"),
        ({"addrs": ["\ud800", "ä"]}, "Invalid address"),
        ({"addrs": "ANY", "from": 0, "to": 51}, "range should be less than or equal to 50"),
        ({"addrs": "ANY", "from": 5, "to": 4}, "must not be greater"),
        ({"addrs": "ANY", "from": -1}, "from must be a whole number"),
    ):
        if body.get("addrs") == "ANY":
            body = {**body, "addrs": address_of(regtest, pay([regtest.coin()], fee=FEE))}
        answer = connect.send("POST", "/addrs/txs", json=body)
        assert answer.status_code == 400
        assert detail in answer.json()["detail"]
