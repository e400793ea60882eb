"""Addresses of Bitcoin Cash have three spellings, and all are the same address."""

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
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.polling.conditions import Met
from tests.hooks.conftest import Connect
from tests.support.raw_server import RawConnection, SeenRequest, Serve

#: Of the specification of CashAddr: the older spelling and the new one.
VECTORS = [
    ("1BpEi6DfDAUFd7GtittLSdBeYJvcoaVggu", "bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a"),
    ("1KXrWXciRDZUpQwQmuM1DbwsKDLYAYsVLR", "bitcoincash:qr95sy3j9xwd2ap32xkykttr4cvcu7as4y0qverfuy"),
    ("16w1D5WRVKJuZUsSRzdLp9w3YGcgoxDXb", "bitcoincash:qqq3728yw0y47sqn6l2na30mcw6zm78dzqre909m2r"),
    ("3CWFddi6m4ndiGyKqzYvsFYagqDLPVMTzC", "bitcoincash:ppm2qsznhks23z7629mms6s4cwef74vcwvn0h829pq"),
    ("3LDsS579y7sruadqu11beEJoTjdFiFCdX4", "bitcoincash:pr95sy3j9xwd2ap32xkykttr4cvcu7as4yc93ky28e"),
    ("31nwvkZwyPdgzjBJZXfDmSWsC4ZLKpYyUw", "bitcoincash:pqq3728yw0y47sqn6l2na30mcw6zm78dzq5ucqzc37"),
]
#: Of the same specification: prefix, type and hash.
LARGER = [
    (
        "bitcoincash:qr6m7j9njldwwzlg9v7v53unlr4jkmx6eylep8ekg2",
        0,
        "F5BF48B397DAE70BE82B3CCA4793F8EB2B6CDAC9",
    ),
    (
        "bchtest:pr6m7j9njldwwzlg9v7v53unlr4jkmx6eyvwc0uz5t",
        1,
        "F5BF48B397DAE70BE82B3CCA4793F8EB2B6CDAC9",
    ),
]
LEGACY, CASH = VECTORS[0]
SEGWIT = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"


@pytest.mark.parametrize(("legacy", "cash"), VECTORS)
def test_all_spellings_are_one_address_and_are_asked_for_in_one(legacy: str, cash: str) -> None:
    bare = cash.partition(":")[2]
    for spelling in (legacy, cash, cash.upper(), bare, bare.upper(), f" {cash} "):
        assert require_address("bch", spelling, "mainnet") == cash
        assert require_address("bch", spelling) == cash
        assert same_address(spelling.strip(), legacy)
    assert len({address_key(each) for pair in VECTORS for each in pair}) == len(VECTORS)


@pytest.mark.parametrize(("address", "kind", "hashed"), LARGER)
def test_an_address_is_written_as_it_is_read(address: str, kind: int, hashed: str) -> None:
    prefix = address.partition(":")[0]
    assert decode_cashaddr(address, prefix) == (kind, bytes.fromhex(hashed))
    assert encode_cashaddr(prefix, kind, bytes.fromhex(hashed)) == address


def test_one_that_tells_of_tokens_pays_the_same() -> None:
    content = decode_cashaddr(CASH, "bitcoincash")
    assert content is not None
    with_tokens = encode_cashaddr("bitcoincash", 2, content[1])
    assert with_tokens.startswith("bitcoincash:z")
    assert same_address(with_tokens, LEGACY)
    assert require_address("bch", with_tokens) == CASH
    assert not is_address("bch", encode_cashaddr("bitcoincash", 4, content[1]), "mainnet")


def test_keys_and_scripts_and_networks_stay_apart() -> None:
    content = decode_cashaddr(CASH, "bitcoincash")
    assert content is not None
    of_tests = encode_cashaddr("bchtest", 0, content[1])
    script = encode_cashaddr("bitcoincash", 1, content[1])
    assert len({address_key(each) for each in (LEGACY, of_tests, script, SEGWIT, "nothing")}) == 5
    assert address_key(SEGWIT.upper()) == SEGWIT
    assert require_address("btc", LEGACY) == LEGACY


def test_base58_of_test_networks_is_brought_into_cashaddr_where_the_network_is_known() -> None:
    legacy = "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn"
    assert require_address("bch", legacy, "testnet").startswith("bchtest:q")
    assert same_address(legacy, require_address("bch", legacy, "testnet"))
    # A Bitcoin node may stand behind it, which knows no other.
    assert require_address("bch", legacy, "regtest") == legacy
    assert require_address("bch", legacy) == legacy


@pytest.mark.parametrize("told", [LEGACY, CASH, CASH.partition(":")[2]])
@pytest.mark.parametrize("asked", [LEGACY, CASH])
def test_a_balance_is_counted_whatever_the_spelling(asked: str, told: str) -> None:
    coin = Unspent.from_json(
        {"txid": "ab", "vout": 0, "satoshis": 5, "amount": 5e-8, "address": told, "confirmations": 1}
    )
    verdict = ConnectBalanceReached("bch", asked, at_least_sat=5).judge([coin], None)
    assert isinstance(verdict, Met)
    assert verdict.result["address"] == CASH


def test_an_address_is_looked_at_once_though_it_is_waited_for_in_two_spellings(
    connect: Connect, serve: Serve
) -> None:
    def script(connection: RawConnection, request: SeenRequest) -> None:
        if request.target == "/auth/token":
            connection.reply(200, b'{"accessToken": "a-token"}')
            return
        asked = request.target.rpartition("/addrs/")[2].partition("/")[0]
        coin = {"txid": "ab", "vout": 0, "satoshis": 5, "confirmations": 1}
        connection.reply(200, json.dumps([coin for _ in asked.split("%2C")]).encode())

    server = serve(script)
    connect(server.url, server.url, extra={"connect_url": server.url})
    client = BloqHook().connect("bch", "mainnet")
    look = AddressOutputs("bch", "mainnet").poll_function(client)
    waited = {
        ConnectBalanceReached("bch", each, network="mainnet").interest
        for each in (LEGACY, CASH, CASH.partition(":")[2].upper())
    }
    assert len(client.run(look(frozenset(waited)))) == 1
    # Whoever looks need not have judged the spelling.
    assert len(client.run(look(frozenset({LEGACY, CASH})))) == 1
