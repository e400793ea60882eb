"""Addresses: valid and invalid ones, and the formats of Bitcoin Cash, which all stand for the same address."""

from __future__ import annotations

import json

import pytest

from airflow_provider_bloq.connect.addresses import (
    address_key,
    decode_cashaddr,
    encode_cashaddr,
    is_address,
    require_address,
    same_address,
)
from airflow_provider_bloq.connect.conditions import AddressOutputs, ConnectBalanceReached
from airflow_provider_bloq.connect.models import Unspent
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.polling.conditions import Met
from tests.hooks.conftest import Connect
from tests.support.raw_server import RawConnection, SeenRequest, Serve

#: From the specification of CashAddr: the same addresses in Base58 and in CashAddr.
VECTORS = [
    ("1BpEi6DfDAUFd7GtittLSdBeYJvcoaVggu", "bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a"),
    ("1KXrWXciRDZUpQwQmuM1DbwsKDLYAYsVLR", "bitcoincash:qr95sy3j9xwd2ap32xkykttr4cvcu7as4y0qverfuy"),
    ("16w1D5WRVKJuZUsSRzdLp9w3YGcgoxDXb", "bitcoincash:qqq3728yw0y47sqn6l2na30mcw6zm78dzqre909m2r"),
    ("3CWFddi6m4ndiGyKqzYvsFYagqDLPVMTzC", "bitcoincash:ppm2qsznhks23z7629mms6s4cwef74vcwvn0h829pq"),
    ("3LDsS579y7sruadqu11beEJoTjdFiFCdX4", "bitcoincash:pr95sy3j9xwd2ap32xkykttr4cvcu7as4yc93ky28e"),
    ("31nwvkZwyPdgzjBJZXfDmSWsC4ZLKpYyUw", "bitcoincash:pqq3728yw0y47sqn6l2na30mcw6zm78dzq5ucqzc37"),
]
#: From the same specification: prefix and type, with the hash below.
LARGER = [
    ("bitcoincash:qr6m7j9njldwwzlg9v7v53unlr4jkmx6eylep8ekg2", 0),
    ("bchtest:pr6m7j9njldwwzlg9v7v53unlr4jkmx6eyvwc0uz5t", 1),
]
LARGER_HASH = bytes.fromhex("F5BF48B397DAE70BE82B3CCA4793F8EB2B6CDAC9")
LEGACY, CASH = VECTORS[0]
LITECOIN = "LM2WMpR1Rp6j3Sa59cMXMs1SPzj9eXpGc1"
BARE = CASH.partition(":")[2]
SEGWIT = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"
#: From BIP 350.
TAPROOT = "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"


def test_addresses_of_bitcoin() -> None:
    for address in (LEGACY, VECTORS[3][0], SEGWIT, SEGWIT.upper(), TAPROOT, "BC1SW50QGDZ25J"):
        assert is_address("btc", address, "mainnet")
        assert not is_address("btc", address, "testnet")
        assert not is_address("btc", address[:-1] + ("q" if address[-1] not in "qQ" else "p"), "mainnet")
    assert require_address("btc", f" {SEGWIT.upper()} ") == SEGWIT
    assert require_address("btc", LEGACY) == LEGACY


def test_addresses_of_bitcoin_cash() -> None:
    for address in (CASH, CASH.upper(), BARE, LEGACY):
        assert is_address("bch", address, "mainnet")
        assert not is_address("bch", address, "regtest")


def test_invalid_addresses_are_refused() -> None:
    for chain, address in (
        ("btc", CASH),
        ("bch", SEGWIT),
        ("btc", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx"),
        ("btc", ""),
        ("btc", "bc1"),
        ("btc", SEGWIT.replace("q", "Q", 1)),
        # Invalid ones from BIP 350: the checksum of the other version.
        ("btc", "bc1q0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd"),
        ("btc", "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd"),
        ("btc", "é" * 30),
        ("btc", "1" * 30),
        ("btc", "z" * 35),
        ("bch", encode_cashaddr("bitcoincash", 16, LARGER_HASH)),
        ("btc", 7),
    ):
        with pytest.raises(BloqConfigurationError) as refused:
            require_address(chain, address, "mainnet")
        assert refused.value.fields == ("address",)
    assert not same_address(None, CASH)


def test_all_formats_of_an_address_have_one_canonical_form() -> None:
    for legacy, cash in VECTORS:
        bare = cash.partition(":")[2]
        for spelling in (legacy, cash, cash.upper(), bare, bare.upper(), f" {cash} "):
            assert require_address("bch", spelling, "mainnet") == cash
            assert require_address("bch", spelling) == cash
            assert same_address(spelling.strip(), legacy)
    assert len({address_key(each) for pair in VECTORS for each in pair}) == len(VECTORS)


def test_cashaddr_is_decoded_and_encoded() -> None:
    for address, kind in LARGER:
        prefix = address.partition(":")[0]
        assert decode_cashaddr(address, prefix) == (kind, LARGER_HASH)
        assert encode_cashaddr(prefix, kind, LARGER_HASH) == address


def test_a_token_aware_address_is_the_same_address() -> None:
    with_tokens = encode_cashaddr("bitcoincash", 2, hash_of(CASH))
    assert with_tokens.startswith("bitcoincash:z")
    assert same_address(with_tokens, LEGACY)
    assert require_address("bch", with_tokens) == CASH
    assert not is_address("bch", encode_cashaddr("bitcoincash", 4, hash_of(CASH)), "mainnet")


def test_keys_scripts_and_networks_are_distinguished() -> None:
    testnet = encode_cashaddr("bchtest", 0, hash_of(CASH))
    script = encode_cashaddr("bitcoincash", 1, hash_of(CASH))
    assert len({address_key(each) for each in (LEGACY, testnet, script, SEGWIT, "nothing")}) == 5
    assert address_key(SEGWIT.upper()) == SEGWIT
    # Base58 of another chain.
    assert address_key(LITECOIN) == LITECOIN


def hash_of(cash: str) -> bytes:
    content = decode_cashaddr(cash, "bitcoincash")
    assert content is not None
    return content[1]


def test_base58_of_test_networks_becomes_cashaddr_if_the_network_is_known() -> None:
    legacy = "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn"
    assert require_address("bch", legacy, "testnet").startswith("bchtest:q")
    assert same_address(legacy, require_address("bch", legacy, "testnet"))
    # A Bitcoin node, which does not know CashAddr, may stand in.
    assert require_address("bch", legacy, "regtest") == legacy
    assert require_address("bch", legacy) == legacy


def test_a_balance_is_counted_in_any_format() -> None:
    for returned in (LEGACY, CASH, BARE):
        output = Unspent.from_json(
            {"txid": "ab", "vout": 0, "satoshis": 5, "address": returned, "confirmations": 1}
        )
        for requested in (LEGACY, CASH):
            verdict = ConnectBalanceReached("bch", requested, at_least_sat=5).judge([output], None)
            assert isinstance(verdict, Met)
            assert verdict.result["address"] == CASH


def test_an_address_in_several_formats_is_polled_once(connect: Connect, serve: Serve) -> None:
    def script(connection: RawConnection, request: SeenRequest) -> None:
        if request.target == "/auth/token":
            connection.reply(200, b'{"accessToken": "a-token"}')
            return
        requested = request.target.rpartition("/addrs/")[2].partition("/")[0]
        output = {"txid": "ab", "vout": 0, "satoshis": 5, "confirmations": 1}
        connection.reply(200, json.dumps([output for _ in requested.split("%2C")]).encode())

    server = serve(script)
    connect(server.url, server.url, extra={"connect_url": server.url})
    client = BloqHook().connect("bch", "mainnet")
    poll = AddressOutputs("bch", "mainnet").poll_function(client)
    interests = {
        ConnectBalanceReached("bch", each, network="mainnet").interest
        for each in (LEGACY, CASH, BARE.upper())
    }
    assert len(client.run(poll(frozenset(interests)))) == 1
    # Interests that are not in canonical form are unified as well.
    assert len(client.run(poll(frozenset({LEGACY, CASH})))) == 1
