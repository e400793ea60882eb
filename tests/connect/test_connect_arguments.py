"""What Connect is never asked for: chains, networks, addresses, ids and numbers that cannot be. Nothing is sent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_bloq.connect.addresses import is_address, require_address, same_address
from airflow_provider_bloq.connect.models import Address, Unspent, satoshi_of
from airflow_provider_bloq.connect.raw_transactions import RawTransaction
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqUnavailable
from airflow_provider_bloq.hooks.bloq import BloqHook
from tests.connect.conftest import asker
from tests.hooks.conftest import Connect
from tests.support.drivers import DriverKind

LEGACY = "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"
SCRIPT = "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy"
SEGWIT = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"
#: BIP 350.
TAPROOT = "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"
CASH = "bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a"
TESTNET = "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx"


@pytest.mark.parametrize("address", [LEGACY, SCRIPT, SEGWIT, SEGWIT.upper(), TAPROOT, "BC1SW50QGDZ25J"])
def test_addresses_of_bitcoin(address: str) -> None:
    assert is_address("btc", address, "mainnet")
    assert not is_address("btc", address, "testnet")
    assert not is_address("btc", address[:-1] + ("q" if address[-1] not in "qQ" else "p"), "mainnet")


@pytest.mark.parametrize("address", [CASH, CASH.upper(), CASH.partition(":")[2], LEGACY])
def test_addresses_of_bitcoin_cash(address: str) -> None:
    assert is_address("bch", address, "mainnet")
    assert not is_address("bch", address, "regtest")


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        ("btc", CASH),
        ("bch", SEGWIT),
        ("btc", TESTNET),
        ("btc", ""),
        ("btc", "bc1"),
        ("btc", SEGWIT.replace("q", "Q", 1)),
        # A version 0 program with the checksum of later versions, of BIP 350's invalid ones.
        ("btc", "bc1q0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd"),
        ("btc", "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd"),
        ("btc", "é" * 30),
        ("btc", "1" * 30),
    ],
)
def test_what_is_no_address(chain: str, address: str) -> None:
    with pytest.raises(BloqConfigurationError) as refused:
        require_address(chain, address, "mainnet")
    assert refused.value.fields == ("address",)


def test_an_address_is_brought_into_its_usual_spelling() -> None:
    assert require_address("btc", f" {SEGWIT.upper()} ") == SEGWIT
    assert require_address("btc", LEGACY) == LEGACY
    assert same_address(CASH, CASH.partition(":")[2])
    assert not same_address(None, CASH)


def test_the_id_of_the_first_transaction_of_all() -> None:
    raw = (
        "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d0104455468"
        "652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261"
        "696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e0"
        "3909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"
    )
    read = RawTransaction.read(f" {raw.upper()}\n")
    assert read.txid == "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
    assert read.raw == raw
    for wrong in (raw[:-2], raw + "00", "", "zz", raw[1:], "0100000000000000000000", None, 7):
        with pytest.raises(BloqConfigurationError, match="raw_transaction"):
            RawTransaction.read(wrong)


@pytest.mark.parametrize(
    ("name", "parameters", "field"),
    [
        ("balance", {"address": TESTNET}, "address"),
        ("unspent", {"addresses": []}, "number of addresses"),
        ("unspent", {"addresses": "x,y"}, "addresses"),
        ("transaction", {"txid": "ab"}, "txid"),
        ("block", {"block_hash": "../status"}, "block_hash"),
        ("block_hash", {"height": -1}, "height"),
        ("block_hash", {"height": True}, "height"),
        ("blocks", {"date": "yesterday"}, "date"),
        ("blocks", {"limit": 0}, "limit"),
        ("estimate_fee", {"blocks": 0}, "blocks"),
        ("send", {"raw_transaction": "00"}, "raw_transaction"),
        ("address_transactions", {"addresses": SEGWIT, "first": 0, "end": 51}, "end"),
        ("history", {"addresses": SEGWIT, "size": 1}, "size"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    connect: Connect, kind: DriverKind, name: str, parameters: dict[str, Any], field: str
) -> None:
    # Port 9 answers nobody; a request would be an error of another kind.
    connect("http://127.0.0.1:9", "http://127.0.0.1:9", extra={"connect_url": "http://127.0.0.1:9"})
    ask = asker(kind, network="mainnet")
    with pytest.raises(BloqConfigurationError) as refused:
        ask(name, **parameters)
    assert refused.value.fields == (field,)


@pytest.mark.parametrize(
    ("chain", "network", "told"),
    [
        ("doge", None, "btc, bch"),
        ("eth", None, "connect_rpc"),
        (None, None, "btc, bch"),
        ("btc", "moonnet", "mainnet, testnet, regtest"),
    ],
)
def test_an_unknown_chain_or_network_names_the_known_ones(
    connect: Connect, chain: Any, network: Any, told: str
) -> None:
    connect("http://127.0.0.1:9", "http://127.0.0.1:9")
    with pytest.raises(BloqConfigurationError, match=told):
        BloqHook().connect(chain, network)


def test_amounts_are_exact() -> None:
    assert satoshi_of(Decimal("0.29")) == 29_000_000
    assert satoshi_of("20999999.97690000") == 2_099_999_997_690_000
    assert satoshi_of(3) == 300_000_000
    for wrong in (0.1, None, True, "", "x", Decimal("0.000000001"), "NaN", "Infinity", "1e999999999"):
        with pytest.raises(BloqUnavailable):
            satoshi_of(wrong)


def test_values_are_read_tolerantly() -> None:
    fields = {"balance": Decimal("0.1"), "totalReceived": 1, "totalSent": Decimal("0.9"), "colour": "red"}
    told = Address.from_json({**fields, "unconfirmedBalance": 0})
    assert (told.balance_sat, told.total_sent_sat, told.transaction_count, told.txids) == (
        10_000_000,
        90_000_000,
        0,
        None,
    )
    coin = Unspent.from_json({"txid": "ab", "vout": 0, "amount": Decimal("0.5"), "address": LEGACY})
    assert (coin.amount_sat, coin.confirmations, coin.height) == (50_000_000, 0, None)
    wrong_ones: list[Any] = [[], None, {}, {"txid": "ab"}]
    for wrong in wrong_ones:
        with pytest.raises(BloqUnavailable):
            Unspent.from_json(wrong)
