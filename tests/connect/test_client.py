"""The REST client of Connect: its results compared with the Bitcoin node's own, and what it refuses to send."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_bloq.connect.models import Address, Unspent, satoshi_of
from airflow_provider_bloq.connect.raw_transactions import RawTransaction
from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqConfigurationError,
    BloqNotFound,
    BloqUnavailable,
)
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from tests.connect.conftest import (
    SEGWIT,
    Ask,
    Changing,
    ScriptedConnect,
    address_of,
    asker,
    fresh_payment,
)
from tests.hooks.conftest import Connect
from tests.support.drivers import DRIVERS


def outputs_to(node: Bitcoind, address: str) -> dict[tuple[str, int], tuple[int, int]]:
    """Return value and height of every output that pays an address, read from the node's blocks."""
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


@pytest.mark.bitcoind
def test_sums_and_outputs_of_an_address_match_the_blocks(ask: Ask, bitcoin: Bitcoind) -> None:
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


@pytest.mark.bitcoind
def test_a_block_matches_the_node(ask: Ask, bitcoin: Bitcoind) -> None:
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


@pytest.mark.bitcoind
def test_a_transaction_matches_the_node(ask: Ask, bitcoin: Bitcoind) -> None:
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


@pytest.mark.bitcoind
def test_unknown_ids_and_heights_are_not_found(ask: Ask) -> None:
    with pytest.raises(BloqNotFound):
        ask("transaction", txid="ab" * 32)
    with pytest.raises(BloqNotFound):
        ask("block", block_hash="ab" * 32)
    with pytest.raises(BloqNotFound):
        ask("block_hash", height=10_000_000)


@pytest.mark.bitcoind
def test_the_state_of_the_chain_and_of_connect(ask: Ask, bitcoin: Bitcoind) -> None:
    assert ask("info").height == bitcoin.height
    assert ask("difficulty") == float(bitcoin.rpc("getblockchaininfo")["difficulty"])
    assert ask("sync").height == bitcoin.height
    assert ask("peer").connected
    assert ask("estimate_fee", blocks=3) is None or ask("estimate_fee", blocks=3) > 0


@pytest.mark.bitcoind
def test_the_history_reads_all_pages(ask: Ask, bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin)
    bitcoin.mine_only(payment)
    address = address_of(bitcoin, payment)
    txids = ask("address", address=address).txids
    for _ in range(3):
        bitcoin.mine_only(fresh_payment(bitcoin))
    told = ask("history", addresses=[address], size=2)
    assert told == asker("awaited")("history", addresses=[address], size=2)
    assert len(told) == len({one.txid for one in told}) == len(txids) + 3
    assert [one.txid for one in told[3:]] == list(txids)
    resumed = ask("history", addresses=address, first=2, size=3)
    assert resumed == told[2:]
    part = ask("address_transactions", addresses=[address], first=1, end=3)
    assert [one.txid for one in part.items] == [one.txid for one in told[1:3]]
    assert part.total == len(told)


@pytest.mark.bitcoind
def test_spending_transactions_can_be_omitted(ask: Ask, bitcoin: Bitcoind) -> None:
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


@pytest.mark.bitcoind
def test_an_expired_token_is_renewed(ask: Ask, bloq: LocalBloq, bitcoin: Bitcoind) -> None:
    bloq.add_fault(Fault(kind=FaultKind.UNAUTHORIZED, service="connect"))
    assert ask("info").height == bitcoin.height
    assert list(bloq.faults_struck().values()) == [1]


@pytest.mark.bitcoind
def test_the_transactions_of_a_block_are_read_page_by_page(bloq: LocalBloq, bitcoin: Bitcoind) -> None:
    source = pay([bitcoin.coin()], fee=20_000, outputs=23)
    payments = [pay([coin], fee=2_000) for coin in source.coins]
    block_hash = bitcoin.mine_only(source, *payments)
    listed = bitcoin.rpc("getblock", block_hash)["tx"]
    for driver in DRIVERS:
        bloq.reset_counters()
        assert [one.txid for one in asker(driver)("in_block", block_hash=block_hash)] == listed
        # The coinbase and the other 24, ten per page.
        assert bloq.counters().calls["connect GET /txs"] == 3


@pytest.mark.bitcoind
def test_the_error_for_a_height_out_of_range_means_not_found(
    changing: Changing, bitcoin: Bitcoind, ask: Ask
) -> None:
    error = b"Block height out of range. Code:-8"
    bodies = [error, json.dumps(error.decode()).encode(), b"The node is busy. Code:-28"]
    changing(lambda path, status, body: (400, bodies.pop(0)) if "block-index" in path else (status, body))
    for _ in range(2):
        with pytest.raises(BloqNotFound) as missing:
            ask("block_hash", height=bitcoin.height + 1)
        assert missing.value.status == 400
    with pytest.raises(BloqApiError) as refused:
        ask("block_hash", height=bitcoin.height + 1)
    assert not isinstance(refused.value, BloqNotFound)


def test_invalid_arguments_are_refused_before_anything_is_sent(connect: Connect) -> None:
    # Nothing listens at port 9: a request would raise another error.
    connect("http://127.0.0.1:9", "http://127.0.0.1:9", extra={"connect_url": "http://127.0.0.1:9"})
    ask = asker(network="mainnet")
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("balance", {"address": "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx"}, "address"),
        ("unspent", {"addresses": []}, "number of addresses"),
        ("unspent", {"addresses": "x,y"}, "addresses"),
        ("transaction", {"txid": "ab"}, "txid"),
        ("block", {"block_hash": "../status"}, "block_hash"),
        ("block_hash", {"height": -1}, "height"),
        ("block_hash", {"height": True}, "height"),
        ("blocks", {"date": "yesterday"}, "date"),
        ("blocks", {"limit": 0}, "limit"),
        ("address", {"address": SEGWIT, "first": -1}, "first"),
        ("address", {"address": SEGWIT, "end": -1}, "end"),
        ("estimate_fee", {"blocks": 0}, "blocks"),
        ("send", {"raw_transaction": "00"}, "raw_transaction"),
        ("address_transactions", {"addresses": SEGWIT, "first": 0, "end": 51}, "end"),
        ("history", {"addresses": SEGWIT, "size": 1}, "size"),
        ("history", {"addresses": SEGWIT, "first": -1}, "first"),
    ]
    for name, parameters, field in wrong:
        with pytest.raises(BloqConfigurationError) as refused:
            ask(name, **parameters)
        assert refused.value.fields == (field,)


@pytest.mark.bitcoind
def test_a_chain_is_named_in_any_case(bloq: LocalBloq, bitcoin: Bitcoind) -> None:
    for chain in ("btc", " BTC "):
        client: Any = BloqHook().connect(chain)
        assert (client.chain, client.network, client.info().height) == ("btc", "regtest", bitcoin.height)


def test_the_error_for_an_unknown_chain_or_network_lists_the_known_ones(connect: Connect) -> None:
    connect("http://127.0.0.1:9", "http://127.0.0.1:9")
    wrong: list[tuple[Any, Any, str]] = [
        ("doge", None, "btc, bch"),
        ("eth", None, "connect_rpc"),
        (None, None, "btc, bch"),
        ("btc", "moonnet", "mainnet, testnet, regtest"),
    ]
    for chain, network, told in wrong:
        with pytest.raises(BloqConfigurationError, match=told):
            BloqHook().connect(chain, network)


def test_a_text_may_come_bare_or_in_an_object(scripted: ScriptedConnect) -> None:
    block_hash, raw = "ab" * 32, "01" * 50
    lookups: list[tuple[str, dict[str, Any], str, str]] = [
        ("raw_block", {"block_hash": block_hash}, "rawblock", raw),
        ("raw_transaction", {"txid": block_hash}, "rawtx", raw),
        ("block_hash", {"height": 7}, "blockHash", block_hash),
    ]
    for name, parameters, field, value in lookups:
        for answer in (value, {field: value}):
            scripted.answer = (200, json.dumps(answer).encode())
            assert scripted.ask(name, **parameters) == value
        for wrong in ("", [raw], 7, {}, None):
            scripted.answer = (200, json.dumps(wrong).encode())
            with pytest.raises(BloqUnavailable, match="Connect"):
                scripted.ask(name, **parameters)


def test_incomplete_answers_are_errors(scripted: ScriptedConnect) -> None:
    incomplete: list[tuple[str, dict[str, Any], Any]] = [
        ("difficulty", {}, {}),
        ("info", {}, {"info": {}}),
        ("balance", {"address": SEGWIT}, "12.5"),
        ("unspent", {"addresses": SEGWIT}, {}),
        ("address_transactions", {"addresses": SEGWIT}, {"items": []}),
        ("transaction", {"txid": "ab" * 32}, []),
    ]
    for name, parameters, answer in incomplete:
        scripted.answer = (200, json.dumps(answer).encode())
        with pytest.raises(BloqUnavailable, match="Connect"):
            scripted.ask(name, **parameters)
    scripted.answer = (200, b'{"status": "syncing"}')
    assert scripted.ask("sync").percentage is None


def test_a_fee_may_be_unknown(scripted: ScriptedConnect) -> None:
    for rate, fee in ((-1, None), (None, None), ("0.00001", 1_000)):
        scripted.answer = (200, json.dumps({"6": rate}).encode())
        assert scripted.ask("estimate_fee", blocks=6) == fee


def test_a_day_is_sent_in_utc(scripted: ScriptedConnect) -> None:
    scripted.answer = (200, b'{"blocks": []}')
    early = datetime.datetime(2026, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    for date, day in ((early, "2025-12-31"), (early.replace(tzinfo=None), "2026-01-01")):
        assert scripted.ask("blocks", date=date).blocks == ()
        assert scripted.server.requests[-1].target.endswith(f"blockDate={day}")


def test_amounts_are_exact() -> None:
    assert satoshi_of(Decimal("0.29")) == 29_000_000
    assert satoshi_of("20999999.97690000") == 2_099_999_997_690_000
    assert satoshi_of(3) == 300_000_000
    for wrong in (0.1, None, True, "", "x", Decimal("0.000000001"), "NaN", "Infinity", "1e999999999"):
        with pytest.raises(BloqUnavailable):
            satoshi_of(wrong)


def test_missing_and_unknown_fields_are_tolerated() -> None:
    fields = {"balance": Decimal("0.1"), "totalReceived": 1, "totalSent": Decimal("0.9"), "colour": "red"}
    address = Address.from_json({**fields, "unconfirmedBalance": 0})
    assert (address.balance_sat, address.total_sent_sat, address.transaction_count, address.txids) == (
        10_000_000,
        90_000_000,
        0,
        None,
    )
    output = Unspent.from_json({"txid": "ab", "vout": 0, "amount": Decimal("0.5"), "address": SEGWIT})
    assert (output.amount_sat, output.confirmations, output.height) == (50_000_000, 0, None)
    for wrong in ([], None, {}, {"txid": "ab"}):
        with pytest.raises(BloqUnavailable):
            Unspent.from_json(wrong)


def test_the_id_of_the_first_bitcoin_transaction() -> None:
    raw = (
        "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d0104455468"
        "652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261"
        "696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e0"
        "3909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"
    )
    transaction = RawTransaction.read(f" {raw.upper()}\n")
    assert transaction.txid == "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
    assert transaction.raw == raw
    too_large = "00" * 4_000_001
    for wrong in (raw[:-2], raw + "00", "", "zz", raw[1:], "0100000000000000000000", too_large, None, 7):
        with pytest.raises(BloqConfigurationError, match="raw_transaction"):
            RawTransaction.read(wrong)
