"""Connect as the source of a chain for those who follow it: the blocks of the node, or word that they have changed."""

from __future__ import annotations

import pytest

from airflow_provider_bloq.chains.blocks import BlockHeader
from airflow_provider_bloq.chains.logs import LogFilter
from airflow_provider_bloq.chains.queries import SharedReads
from airflow_provider_bloq.chains.transfers import TransferFilter
from airflow_provider_bloq.connect.client import ConnectClient
from airflow_provider_bloq.connect.source import ConnectSource
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqReorg
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.local import LocalBloq
from tests.connect.conftest import address_of, fresh_payment

pytestmark = pytest.mark.bitcoind


@pytest.fixture
def client(bloq: LocalBloq) -> ConnectClient:
    return BloqHook().connect("btc")


def source_of(client: ConnectClient) -> ConnectSource:
    return ConnectSource(client, SharedReads())


def own_headers(node: Bitcoind, first: int, last: int) -> list[BlockHeader]:
    headers = [node.rpc("getblockheader", node.block_hash(height)) for height in range(first, last + 1)]
    return [
        BlockHeader(one["height"], one["hash"], one.get("previousblockhash", "0" * 64), one["time"])
        for one in headers
    ]


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 3), (2, 5)])
def test_headers_are_those_of_the_node(
    client: ConnectClient, bitcoin: Bitcoind, first: int, last: int
) -> None:
    assert client.run(source_of(client).headers(first, last)) == own_headers(bitcoin, first, last)


def test_headers_go_as_far_as_there_are_any(client: ConnectClient, bitcoin: Bitcoind) -> None:
    tip = bitcoin.height
    assert client.run(source_of(client).headers(tip - 1, tip + 5)) == own_headers(bitcoin, tip - 1, tip)
    assert client.run(source_of(client).headers(tip + 1, tip + 5)) == []


def test_a_chain_of_headers_takes_a_request_for_each_and_one_more(
    client: ConnectClient, bloq: LocalBloq
) -> None:
    bloq.reset_counters()
    client.run(source_of(client).headers(1, 10))
    asked = {call: number for call, number in bloq.counters().calls.items() if call.startswith("connect ")}
    assert sum(asked.values()) == 11


def test_payments_are_in_the_order_of_the_blocks(client: ConnectClient, bitcoin: Bitcoind) -> None:
    first = fresh_payment(bitcoin, outputs=2)
    later = [fresh_payment(bitcoin), fresh_payment(bitcoin), pay([first.coins[1]], fee=2_000, outputs=2)]
    start = bitcoin.height + 1
    bitcoin.mine_only(first)
    bitcoin.mine_only(*later)
    headers = own_headers(bitcoin, start, start + 1)
    wanted = TransferFilter.of(address_of(bitcoin, first))
    told = client.run(source_of(client).transfers(wanted, headers))
    assert [(one["tx_hash"], one["tx_index"], one["input"], one["output"]) for one in told] == [
        (first.txid, 1, None, 0),
        (first.txid, 1, None, 1),
        (later[0].txid, 1, None, 0),
        (later[1].txid, 2, None, 0),
        (later[2].txid, 3, 0, None),
        (later[2].txid, 3, None, 0),
        (later[2].txid, 3, None, 1),
    ]
    assert {one["block_hash"] for one in told} == {header.hash for header in headers}
    outgoing = TransferFilter.of(address_of(bitcoin, first), direction="from")
    (spent,) = client.run(source_of(client).transfers(outgoing, headers))
    assert (spent["amount"], spent["to"]) == (str(first.coins[1].satoshi), None)


@pytest.mark.parametrize("again", [False, True], ids=["payment lost", "payment in another block"])
def test_blocks_that_were_replaced_meanwhile_are_noticed(
    client: ConnectClient, bitcoin: Bitcoind, *, again: bool
) -> None:
    payment = fresh_payment(bitcoin)
    start = bitcoin.height + 1
    bitcoin.mine_only(payment)
    bitcoin.mine_only()
    bitcoin.mine_only()
    headers = own_headers(bitcoin, start, start + 2)
    bitcoin.fork(3)
    if again:
        bitcoin.invalidate(bitcoin.block_hash(start))
        bitcoin.mine_only(payment)
        bitcoin.mine_only()
        bitcoin.mine_only()
    wanted = TransferFilter.of(address_of(bitcoin, payment))
    with pytest.raises(BloqReorg) as reorg:
        client.run(source_of(client).transfers(wanted, headers))
    assert reorg.value.retryable


def test_there_are_no_logs(client: ConnectClient, bitcoin: Bitcoind) -> None:
    with pytest.raises(BloqConfigurationError, match="contracts"):
        client.run(source_of(client).logs(LogFilter.of(), own_headers(bitcoin, 1, 1)))


def test_balances_and_confirmations_are_right_after_a_reorg_of_three(
    client: ConnectClient, bitcoin: Bitcoind
) -> None:
    kept, lost = fresh_payment(bitcoin), fresh_payment(bitcoin)
    address = address_of(bitcoin, kept)
    bitcoin.mine_only(kept)
    bitcoin.mine_only(lost, pay(kept.coins, fee=2_000))
    bitcoin.mine_only()
    bitcoin.mine_only()

    def balance_by_blocks() -> int:
        spent, coins = set(), {}
        for height in range(bitcoin.height + 1):
            for transaction in bitcoin.rpc("getblock", bitcoin.block_hash(height), 2)["tx"]:
                spent |= {(one.get("txid"), one.get("vout")) for one in transaction["vin"]}
                for output in transaction["vout"]:
                    if output["scriptPubKey"].get("address") == address:
                        coins[transaction["txid"], output["n"]] = round(output["value"] * 100_000_000)
        return sum(value for outpoint, value in coins.items() if outpoint not in spent)

    def confirmations(txid: str) -> tuple[int, int | None]:
        told = client.transaction(txid)
        return told.confirmations, told.height

    before = client.balance(address)
    assert before == balance_by_blocks()
    height = bitcoin.height
    assert confirmations(lost.txid) == (3, height - 2)
    bitcoin.fork(3)
    assert client.balance(address) == balance_by_blocks() != before
    assert confirmations(lost.txid) == (0, None)
    assert confirmations(kept.txid) == (5, height - 3)
    assert client.address(address).unconfirmed_balance_sat == before - client.balance(address)
    bitcoin.mine()
    assert client.balance(address) == balance_by_blocks()
    assert confirmations(lost.txid) == (1, bitcoin.height)
