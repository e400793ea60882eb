"""Every endpoint of Connect, by both hooks, held against what the Bitcoin node itself says."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import BloqNotFound
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from tests.connect.conftest import Ask, address_of, fresh_payment

pytestmark = pytest.mark.bitcoind


def outputs_to(node: Bitcoind, address: str) -> dict[tuple[str, int], tuple[int, int]]:
    """Read the node's blocks: value and height of every output that pays an address."""
    paid = {}
    for height in range(node.height + 1):
        for transaction in node.rpc("getblock", node.block_hash(height), 2)["tx"]:
            for output in transaction["vout"]:
                if output["scriptPubKey"].get("address") == address:
                    value = round(Decimal(str(output["value"])) * 100_000_000)
                    paid[transaction["txid"], output["n"]] = (value, height)
    return paid


def spent_by(node: Bitcoind) -> set[tuple[str, int]]:
    return {
        (spent["txid"], spent["vout"])
        for height in range(node.height + 1)
        for transaction in node.rpc("getblock", node.block_hash(height), 2)["tx"]
        for spent in transaction["vin"]
        if "txid" in spent
    }


def test_sums_and_coins_of_an_address_are_those_of_the_blocks(ask: Ask, bitcoin: Bitcoind) -> None:
    first = fresh_payment(bitcoin, outputs=3)
    bitcoin.mine_only(first, pay(first.coins[:1], fee=2_000))
    address = address_of(bitcoin, first)
    waiting = fresh_payment(bitcoin)
    bitcoin.send(waiting)
    paid, spent = outputs_to(bitcoin, address), spent_by(bitcoin)
    received = sum(value for value, _ in paid.values())
    sent = sum(value for outpoint, (value, _) in paid.items() if outpoint in spent)

    told = ask("address", address=address)
    assert told.address == address
    assert (told.total_received_sat, told.total_sent_sat) == (received, sent)
    assert (told.balance_sat, told.unconfirmed_balance_sat) == (received - sent, waiting.coins[0].satoshi)
    assert told.txids[0] == waiting.txid
    assert ask("address", address=address, txids=False).txids is None
    assert ask("address", address=address, first=1, end=3).txids == told.txids[1:3]
    for name, amount in (
        ("balance", received - sent),
        ("total_received", received),
        ("total_sent", sent),
        ("unconfirmed_balance", waiting.coins[0].satoshi),
    ):
        answered = ask(name, address=address)
        assert answered == amount
        assert isinstance(answered, int)
    coins = {
        (coin.txid, coin.index): (coin.amount_sat, coin.confirmations)
        for coin in ask("unspent", addresses=address)
    }
    assert coins.pop((waiting.txid, 0)) == (waiting.coins[0].satoshi, 0)
    assert coins == {
        outpoint: (value, bitcoin.height - height + 1)
        for outpoint, (value, height) in paid.items()
        if outpoint not in spent
    }


def test_a_block_is_that_of_the_node(ask: Ask, bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin)
    block_hash = bitcoin.mine_only(payment)
    height = bitcoin.height
    block = ask("block", block_hash=block_hash.upper())
    own = bitcoin.rpc("getblock", block_hash)
    assert (block.hash, block.height, block.time, block.confirmations) == (block_hash, height, own["time"], 1)
    assert (block.txids, block.previous_hash) == (tuple(own["tx"]), own["previousblockhash"])
    assert (block.next_hash, block.is_main_chain) == (None, True)
    assert ask("block_hash", height=height) == block_hash == ask("best_block_hash")
    assert ask("last_block").last_hash == block_hash
    assert ask("raw_block", block_hash=block_hash) == bitcoin.rpc("getblock", block_hash, 0)
    day = datetime.datetime.fromtimestamp(own["time"], datetime.UTC).date()
    listed = ask("blocks", date=day, limit=1)
    assert [one.hash for one in listed.blocks] == [block_hash]
    assert (listed.more, listed.blocks[0].transaction_count) == (True, 2)
    assert ask("blocks", date=day.isoformat(), limit=1) == listed
    assert ask("blocks", date="2001-01-01").blocks == ()


def test_a_transaction_is_that_of_the_node(ask: Ask, bitcoin: Bitcoind) -> None:
    source = bitcoin.coin()
    payment = pay([source], fee=2_001, outputs=2)
    bitcoin.send(payment)
    waiting = ask("transaction", txid=payment.txid)
    assert (waiting.height, waiting.block_hash, waiting.confirmations) == (None, None, 0)
    (block_hash,) = bitcoin.mine()
    found = ask("transaction", txid=payment.txid)
    assert (found.height, found.block_hash, found.confirmations) == (bitcoin.height, block_hash, 1)
    (spent,) = found.inputs
    assert (spent.spent_txid, spent.spent_index, spent.amount_sat) == (source.txid, 0, source.satoshi)
    assert [output.amount_sat for output in found.outputs] == [coin.satoshi for coin in payment.coins]
    left = sum(coin.satoshi for coin in payment.coins)
    assert (found.fees_sat, found.is_coinbase) == (source.satoshi - left, False)
    assert ask("raw_transaction", txid=payment.txid) == payment.raw
    page = ask("transactions_of_block", block_hash=block_hash)
    assert [one.txid for one in page.items] == bitcoin.rpc("getblock", block_hash)["tx"]
    assert (page.total, page.items[0].is_coinbase, page.items[0].fees_sat) == (1, True, None)
    recent = ask("transactions_of_address", address=address_of(bitcoin, payment))
    assert recent.items[0].txid == payment.txid
    assert ask("transactions_of_block", block_hash=block_hash, page=7).items == ()


def test_what_is_not_there_is_not_found(ask: Ask) -> None:
    with pytest.raises(BloqNotFound):
        ask("transaction", txid="ab" * 32)
    with pytest.raises(BloqNotFound):
        ask("block", block_hash="ab" * 32)
    with pytest.raises(BloqNotFound):
        ask("block_hash", height=10_000_000)


def test_connect_tells_of_itself(ask: Ask, bitcoin: Bitcoind) -> None:
    assert ask("info").height == bitcoin.height
    assert ask("difficulty") == float(bitcoin.rpc("getblockchaininfo")["difficulty"])
    assert ask("sync").height == bitcoin.height
    assert ask("peer").connected
    assert ask("estimate_fee", blocks=3) is None or ask("estimate_fee", blocks=3) > 0


def test_the_history_goes_through_all_parts(ask: Ask, bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin)
    bitcoin.mine_only(payment)
    address = address_of(bitcoin, payment)
    txids = ask("address", address=address).txids
    for _ in range(3):
        bitcoin.mine_only(fresh_payment(bitcoin))
    told = list(ask("history", addresses=[address], size=2))
    assert len(told) == len({one.txid for one in told}) == len(txids) + 3
    assert [one.txid for one in told[3:]] == list(txids)
    resumed = list(ask("history", addresses=address, first=2, size=3))
    assert resumed == told[2:]
    part = ask("address_transactions", addresses=[address], first=1, end=3)
    assert [one.txid for one in part.items] == [one.txid for one in told[1:3]]
    assert part.total == len(told)


def test_what_spent_the_outputs_is_left_out_where_it_is_not_wanted(ask: Ask, bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin)
    bitcoin.mine_only(payment)
    spending = pay(payment.coins, fee=2_000)
    bitcoin.mine_only(spending)
    address = address_of(bitcoin, payment)

    def spenders(**options: Any) -> set[str | None]:
        items = ask("address_transactions", addresses=[address], end=50, **options).items
        (told,) = (one for one in items if one.txid == payment.txid)
        return {output.spent_txid for output in told.outputs}

    assert spenders() == {spending.txid}
    assert spenders(spent=False) == {None}


def test_an_expired_token_is_renewed(ask: Ask, bloq: LocalBloq, bitcoin: Bitcoind) -> None:
    bloq.add_fault(Fault(kind=FaultKind.UNAUTHORIZED, service="connect"))
    assert ask("info").height == bitcoin.height
    assert list(bloq.faults_struck().values()) == [1]


@pytest.mark.parametrize("chain", ["btc", " BTC "])
def test_a_chain_is_named_in_any_case(bloq: LocalBloq, chain: str, bitcoin: Bitcoind) -> None:
    from airflow_provider_bloq.hooks.bloq import BloqHook

    client: Any = BloqHook().connect(chain)
    assert (client.chain, client.network, client.info().height) == ("btc", "regtest", bitcoin.height)
