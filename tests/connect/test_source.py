"""Connect as a source of chain data: the blocks of the node, or an error if they have changed."""

from __future__ import annotations

import json

import pytest

from airflow_provider_bloq.chains.blocks import BlockHeader, Finality
from airflow_provider_bloq.chains.logs import LogFilter
from airflow_provider_bloq.chains.queries import SharedReads
from airflow_provider_bloq.chains.transfers import TransferFilter
from airflow_provider_bloq.connect.client import ConnectClient
from airflow_provider_bloq.connect.source import ConnectSource
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqReorg
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.polling.watcher import FinalConnectBlock
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.local import LocalBloq
from tests.connect.conftest import SEGWIT, address_of, fresh_payment
from tests.hooks.conftest import Connect
from tests.support.raw_server import RawConnection, SeenRequest, Serve


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


@pytest.mark.bitcoind
def test_headers_match_the_node(client: ConnectClient, bitcoin: Bitcoind) -> None:
    for first, last in ((0, 0), (0, 3), (2, 5)):
        assert client.run(source_of(client).headers(first, last)) == own_headers(bitcoin, first, last)


@pytest.mark.bitcoind
def test_headers_end_with_the_chain(client: ConnectClient, bitcoin: Bitcoind) -> None:
    tip = bitcoin.height
    assert client.run(source_of(client).headers(tip - 1, tip + 5)) == own_headers(bitcoin, tip - 1, tip)
    assert client.run(source_of(client).headers(tip + 1, tip + 5)) == []


@pytest.mark.bitcoind
def test_headers_take_one_request_each_and_one_more(client: ConnectClient, bloq: LocalBloq) -> None:
    bloq.reset_counters()
    client.run(source_of(client).headers(1, 10))
    asked = {call: number for call, number in bloq.counters().calls.items() if call.startswith("connect ")}
    assert sum(asked.values()) == 11


@pytest.mark.bitcoind
def test_transfers_are_in_block_order(client: ConnectClient, bitcoin: Bitcoind) -> None:
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


@pytest.mark.bitcoind
@pytest.mark.parametrize("again", [False, True], ids=["payment lost", "payment in another block"])
def test_replaced_blocks_are_an_error(client: ConnectClient, bitcoin: Bitcoind, *, again: bool) -> None:
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


@pytest.mark.bitcoind
def test_there_are_no_logs(client: ConnectClient, bitcoin: Bitcoind) -> None:
    with pytest.raises(BloqConfigurationError, match="contracts"):
        client.run(source_of(client).logs(LogFilter.of(), own_headers(bitcoin, 1, 1)))


@pytest.mark.bitcoind
def test_balances_and_confirmations_after_a_reorg(client: ConnectClient, bitcoin: Bitcoind) -> None:
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


def test_an_input_without_an_amount_is_not_a_transfer(connect: Connect, serve: Serve) -> None:
    headers = [BlockHeader(7, "07" * 32, "06" * 32, 0)]
    spending = {"n": 0, "addr": SEGWIT, "txid": "cd" * 32, "vout": 0}
    transaction = {
        "txid": "ab" * 32,
        "blockheight": 7,
        "blockhash": headers[0].hash,
        "vin": [{**spending, "valueSat": 5}, {**spending, "n": 1}, {"n": 2, "valueSat": 5}],
    }

    def script(connection: RawConnection, request: SeenRequest) -> None:
        answers = {
            "/auth/token": {"accessToken": "a-token"},
            "/api/v1/addrs/txs": {"totalItems": 1, "items": [transaction]},
            "/api/v1/block-index/7": {"blockHash": headers[0].hash},
            f"/api/v1/block/{headers[0].hash}": {"hash": headers[0].hash, "height": 7, "tx": []},
        }
        connection.reply(200, json.dumps(answers[request.target]).encode())

    server = serve(script)
    connect(server.url, server.url, extra={"connect_url": server.url})
    client = BloqHook().connect("btc", "mainnet")
    (transfer,) = client.run(source_of(client).transfers(TransferFilter.of(SEGWIT), headers))
    assert (transfer["input"], transfer["amount"], transfer["tx_index"]) == (0, "5", None)


NEWEST = "ab" * 32


def test_a_missing_final_block_is_read_again_and_a_known_one_is_not(connect: Connect, serve: Serve) -> None:
    block = {"hash": NEWEST, "height": 7, "time": 1_600_000_000, "confirmations": 1, "tx": ["cd" * 32]}
    answers = iter([(404, b"Not found"), (200, json.dumps(block).encode())])

    def script(connection: RawConnection, request: SeenRequest) -> None:
        if request.target == "/auth/token":
            connection.reply(200, b'{"accessToken": "a-token"}')
        elif "/status" in request.target:
            connection.reply(200, json.dumps({"syncTipHash": NEWEST, "lastblockhash": NEWEST}).encode())
        else:
            connection.reply(*next(answers))

    server = serve(script)
    connect(server.url, server.url, extra={"connect_url": server.url})
    client = BloqHook().connect("btc")
    poll = FinalConnectBlock("btc", None, Finality.of(1), stream=False).poll_function(client)
    seen = [client.run(poll(frozenset())).final for _ in range(3)]
    assert seen[0] is None
    assert [header.height for header in seen[1:] if header is not None] == [7, 7]
    assert len([request for request in server.requests if "/block/" in request.target]) == 2
