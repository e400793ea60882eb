"""Headers, final blocks and logs as a node gives them, over sockets and with both drivers."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.chains.blocks import (
    BlockHeader,
    Finality,
    Head,
    read_final_by_confirmations,
    read_final_by_tag,
    read_headers,
)
from airflow_provider_bloq.chains.logs import read_logs
from airflow_provider_bloq.chains.queries import ChainFamily, SharedReads
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqReorg, BloqRpcError, BloqUnavailable
from tests.chains.asked import ANY, Asked
from tests.chains.evm_node import log_of, long_hash
from tests.clients.scripted_node import StartNode


@pytest.fixture
def asked(node: StartNode) -> Asked:
    return Asked(node, 120)


def test_headers_come_as_far_as_there_are_blocks(asked: Asked) -> None:
    assert asked.run(read_headers(asked.rpc, ChainFamily.EVM, 50, 200)) == asked.evm.blocks[50:]
    assert asked.run(read_headers(asked.rpc, ChainFamily.EVM, 120, 130)) == []


@pytest.mark.parametrize(("confirmations", "height"), [(1, 119), (2, 118), (120, 0)])
def test_the_final_block_has_the_confirmations(asked: Asked, confirmations: int, height: int) -> None:
    head = Head(119, asked.evm.blocks[119].hash, 0.0)
    finality = Finality.of(confirmations)
    flow = read_final_by_confirmations(asked.rpc, ChainFamily.EVM, finality, head)
    assert asked.run(flow) == asked.evm.blocks[height]


def test_a_chain_that_is_too_short_has_none(asked: Asked) -> None:
    head = Head(119, asked.evm.blocks[119].hash, 0.0)
    assert asked.run(read_final_by_confirmations(asked.rpc, ChainFamily.EVM, Finality.of(121), head)) is None


def test_the_node_may_say_what_is_final(asked: Asked) -> None:
    asked.evm.finalized = 70
    assert asked.run(read_final_by_tag(asked.rpc, ChainFamily.EVM, "finalized")) == asked.evm.blocks[70]


@pytest.mark.parametrize("family", list(ChainFamily))
def test_a_node_that_cannot_say_so_is_a_wrong_setting(asked: Asked, family: ChainFamily) -> None:
    with pytest.raises(BloqConfigurationError, match="confirmations=") as wrong:
        asked.run(read_final_by_tag(asked.rpc, family, "finalized"))
    assert wrong.value.fields == ("finality",)


def test_logs_are_in_order_and_in_lower_case(asked: Asked) -> None:
    blocks = asked.evm.blocks
    asked.evm.logs = [log_of(blocks[12], 3), log_of(blocks[11], 7), log_of(blocks[12], 1)]
    found = asked.logs(10, 20)
    assert [(log["height"], log["log_index"]) for log in found] == [(11, 7), (12, 1), (12, 3)]
    assert found[0] == {
        "height": 11,
        "block_hash": blocks[11].hash,
        "tx_hash": long_hash(0xAA07),
        "tx_index": 7,
        "log_index": 7,
        "address": "0x" + "c0" * 20,
        "topics": ["0x" + "ab" * 32],
        "data": "0xff",
    }


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_a_node_that_searches_fewer_blocks_is_asked_for_fewer(asked: Asked, limit: int) -> None:
    asked.evm.logs = [log_of(block) for block in asked.evm.blocks]
    asked.evm.search_limit = limit
    assert [log["height"] for log in asked.logs(5, 24)] == list(range(5, 25))


def test_one_that_refuses_even_a_single_block_has_its_error_told(asked: Asked) -> None:
    asked.evm.search_limit = 0
    with pytest.raises(BloqRpcError, match="more than 10000 results"):
        asked.logs(5, 24)


def test_logs_of_another_branch_are_not_told(asked: Asked) -> None:
    asked.evm.logs = [log_of(asked.evm.blocks[11], blockHash=long_hash(5))]
    with pytest.raises(BloqReorg):
        asked.logs(10, 20)


def test_a_reorg_while_logs_are_searched_is_noticed_even_if_there_are_none(asked: Asked) -> None:
    wanted = asked.evm.blocks[10:21]

    def reorganise(method: str) -> None:
        if method == "eth_getLogs":
            asked.evm.blocks[20] = BlockHeader(20, long_hash(6), wanted[-1].parent, 0)

    asked.evm.before = reorganise
    with pytest.raises(BloqReorg):
        asked.run(read_logs(asked.rpc, ANY, wanted))


def test_a_log_that_was_removed_is_none(asked: Asked) -> None:
    asked.evm.logs = [log_of(asked.evm.blocks[11], removed=True)]
    assert asked.logs(10, 20) == []


@pytest.mark.parametrize("fields", [{"topics": None}, {"data": 5}, {"logIndex": 3}, {"address": None}])
def test_what_cannot_be_read_is_no_log(asked: Asked, fields: dict[str, Any]) -> None:
    asked.evm.logs = [log_of(asked.evm.blocks[11], **fields)]
    with pytest.raises(BloqUnavailable):
        asked.logs(10, 20)


def test_what_was_read_is_not_read_again_before_the_next_look(asked: Asked) -> None:
    reads = SharedReads()

    def read(height: int) -> list[BlockHeader]:
        found: list[BlockHeader] = asked.run(
            reads.once(height, lambda: read_headers(asked.rpc, ChainFamily.EVM, height, height))
        )
        return found

    assert read(3) == read(3) == asked.evm.blocks[3:4]
    assert read(4) == asked.evm.blocks[4:5]
    assert len(asked.evm.methods) == 2
    reads.renew()
    read(3)
    assert len(asked.evm.methods) == 3


def test_of_many_things_that_were_read_few_are_kept(asked: Asked) -> None:
    reads = SharedReads()
    for height in range(100):
        asked.run(reads.once(height, lambda: read_headers(asked.rpc, ChainFamily.EVM, 1, 1)))
    assert len(reads._results) < 20
    assert reads._flights == {}
