"""Headers and payments read from the blocks of a real Bitcoin node."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.chains.blocks import BlockHeader, read_headers
from airflow_provider_bloq.chains.conditions import RpcSubject
from airflow_provider_bloq.chains.queries import ChainFamily, SharedReads
from airflow_provider_bloq.chains.transfers import TransferFilter, bitcoin_transfers
from airflow_provider_bloq.exceptions import BloqReorg
from airflow_provider_bloq.rpc.client import RpcApi
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from tests.clients.both_ways import BothWays
from tests.conditions.looking import AccountReader

pytestmark = pytest.mark.bitcoind


@pytest.fixture
def rpc(bloq: BothWays, btc: RpcSubject) -> RpcApi:
    return AccountReader(bloq).rpc(btc.node, tls_fingerprint=btc.tls_fingerprint)


def headers(bloq: BothWays, rpc: RpcApi, first: int, last: int) -> list[BlockHeader]:
    found: list[BlockHeader] = bloq.run(read_headers(rpc, ChainFamily.BITCOIN, first, last))
    return found


def transfers(
    bloq: BothWays, rpc: RpcApi, wanted: TransferFilter, blocks: list[BlockHeader]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bloq.run(bitcoin_transfers(rpc, SharedReads(), wanted, blocks))
    return found


def address_of(bitcoin: Bitcoind, txid: str) -> str:
    address: str = bitcoin.rpc("gettxout", txid, 0)["scriptPubKey"]["address"]
    return address


def test_headers_are_linked_from_the_genesis_block_to_the_head(
    bitcoin: Bitcoind, bloq: BothWays, rpc: RpcApi
) -> None:
    found = headers(bloq, rpc, 0, bitcoin.height + 3)
    assert [header.height for header in found] == list(range(bitcoin.height + 1))
    assert [header.parent for header in found[1:]] == [header.hash for header in found[:-1]]
    assert found[0].parent == "0" * 64
    assert found[-1].hash == bitcoin.rpc("getbestblockhash")
    assert headers(bloq, rpc, bitcoin.height + 1, bitcoin.height + 2) == []


def test_outputs_pay_an_address_and_inputs_spend_what_it_had(
    bitcoin: Bitcoind, bloq: BothWays, rpc: RpcApi
) -> None:
    received = pay([bitcoin.coin()], fee=1_234, outputs=3)
    blocks = [bitcoin.mine_only(received)]
    address = address_of(bitcoin, received.txid)
    spent = pay(received.coins[:2], fee=567)
    blocks.append(bitcoin.mine_only(spent))
    read = headers(bloq, rpc, bitcoin.height - 1, bitcoin.height)
    assert [header.hash for header in read] == blocks

    def told(direction: str) -> list[tuple[Any, ...]]:
        found = transfers(bloq, rpc, TransferFilter.of(address, direction=direction), read)
        return [(one["tx_hash"], one["input"], one["output"], one["amount"]) for one in found]

    value = str(received.coins[0].satoshi)
    came = [(received.txid, None, number, value) for number in range(3)]
    went = [(spent.txid, number, None, value) for number in range(2)]
    change = [(spent.txid, None, 0, str(spent.coins[0].satoshi))]
    assert (told("to"), told("from"), told("both")) == ([*came, *change], went, [*came, *went, *change])


def test_the_genesis_block_can_be_read_as_well(bitcoin: Bitcoind, bloq: BothWays, rpc: RpcApi) -> None:
    address = address_of(bitcoin, bitcoin.coin().txid)
    found = transfers(bloq, rpc, TransferFilter.of(address), headers(bloq, rpc, 0, 1))
    assert {one["height"] for one in found} <= {1}


def test_blocks_that_a_reorg_took_away_are_told_so(bitcoin: Bitcoind, bloq: BothWays, rpc: RpcApi) -> None:
    payment = pay([bitcoin.coin()], fee=1_000)
    bitcoin.mine_only(payment)
    address, height = address_of(bitcoin, payment.txid), bitcoin.height
    read = headers(bloq, rpc, height, height)
    bitcoin.fork(1)
    with pytest.raises(BloqReorg) as reorg:
        transfers(bloq, rpc, TransferFilter.of(address), read)
    assert str(height) in str(reorg.value)
