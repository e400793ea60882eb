"""The height of a chain: when a block has as many confirmations as wanted."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.chains.blocks import Head
from airflow_provider_bloq.chains.conditions import BlockReached, RpcSubject
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqUnavailable
from tests.clients.both_ways import BothWays
from tests.clients.scripted_node import answering_by, echo
from tests.conditions.bitcoin_node import BitcoinNode
from tests.conditions.evm_chain import EvmChain
from tests.conditions.looking import Looking, reason_of, result_of
from tests.support.raw_server import Serve

SUBJECT = RpcSubject("node-1", family="evm")


@pytest.mark.parametrize("height", [0, 1, 1000])
@pytest.mark.parametrize("confirmations", [1, 2, 12])
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_the_head_has_one_confirmation_and_each_block_on_it_gives_one_more(
    height: int, confirmations: int, off: int
) -> None:
    head = Head(height + confirmations - 1 + off, "00", 5.0)
    verdict = BlockReached(SUBJECT, height, confirmations).judge(head, None)
    if off < 0:
        told = f"has {confirmations - 1} of {confirmations}" if confirmations > 1 else f"1 before {height}"
        assert told in reason_of(verdict)
    else:
        assert result_of(verdict) == {
            "height": height,
            "confirmations": confirmations + off,
            "head": {"height": head.height, "hash": "00", "time": 5.0},
        }


@pytest.mark.parametrize(
    ("field", "value"), [("height", -1), ("height", "5"), ("confirmations", 0), ("confirmations", None)]
)
def test_what_cannot_be_is_refused(field: str, value: Any) -> None:
    fields = {"subject": SUBJECT, "height": 5, field: value}
    with pytest.raises(BloqConfigurationError) as wrong:
        BlockReached(**fields)
    assert wrong.value.fields == (field,)


@pytest.mark.anvil
def test_blocks_of_a_real_chain(bloq: BothWays, eth: RpcSubject, chain: EvmChain) -> None:
    wanted = chain.height + 2
    looking = Looking(bloq, BlockReached(eth, wanted, 2))
    assert f"2 before {wanted}" in reason_of(looking.look())
    chain.mine(2)
    assert "has 1 of 2 confirmations" in reason_of(looking.look())
    chain.mine()
    block = chain.block(wanted + 1)
    assert result_of(looking.look()) == {
        "height": wanted,
        "confirmations": 2,
        "head": {
            "height": wanted + 1,
            "hash": block["hash"],
            "time": float(int(block["timestamp"], 16)),
        },
    }


@pytest.mark.anvil
def test_a_chain_that_grows_shorter_takes_confirmations_away(
    bloq: BothWays, eth: RpcSubject, chain: EvmChain
) -> None:
    looking = Looking(bloq, BlockReached(eth, chain.height, 2))
    assert "has 1 of 2" in reason_of(looking.look())
    chain.call("anvil_rollback", 1)
    assert "1 before" in reason_of(looking.look())
    chain.mine(2)
    assert result_of(looking.look())["confirmations"] == 2


@pytest.mark.parametrize("tells_time", [True, False], ids=["since 2022", "before 2022"])
def test_blocks_of_bitcoin(
    outsider: BothWays, btc: RpcSubject, btc_node: BitcoinNode, tells_time: bool
) -> None:
    btc_node.tells_time = tells_time
    looking = Looking(outsider, BlockReached(btc, 101))
    assert "1 before 101" in reason_of(looking.look())
    btc_node.height = 101
    assert result_of(looking.look()) == {
        "height": 101,
        "confirmations": 1,
        "head": {"height": 101, "hash": btc_node.block_hash(101), "time": float(btc_node.time)},
    }
    assert len(btc_node.batches) == (2 if tells_time else 4)


GOOD = {"number": "0x5", "hash": f"0x{'ab' * 32}", "timestamp": "0x10"}


@pytest.mark.parametrize(
    "block",
    [
        None,
        [],
        "0x5",
        {},
        GOOD | {"number": None},
        GOOD | {"number": 5},
        GOOD | {"number": "0x"},
        GOOD | {"number": "five"},
        GOOD | {"number": f"0x{'f' * 65}"},
        GOOD | {"hash": "0xab"},
        GOOD | {"hash": 7},
        GOOD | {"timestamp": "-0x1"},
    ],
)
def test_a_head_that_cannot_be_read_is_no_head(outsider: BothWays, serve: Serve, block: Any) -> None:
    server = serve(answering_by(lambda call: echo(call) | {"result": block}))
    looking = Looking(outsider, BlockReached(RpcSubject.of(server.url, family="evm"), 5))
    with pytest.raises(BloqUnavailable, match=r"not return a block|unreadable"):
        looking.look()
