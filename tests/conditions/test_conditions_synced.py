"""Whether a node has taken in its chain."""

from __future__ import annotations

import time
from typing import Any

import pytest

from airflow_provider_bloq.chains.blocks import Head, SyncState
from airflow_provider_bloq.chains.conditions import NodeSync, NodeSynced, RpcSubject
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqRpcError, BloqUnavailable
from tests.clients.both_ways import BothWays
from tests.clients.scripted_node import answering_by
from tests.conditions.bitcoin_node import BitcoinNode, RpcFault
from tests.conditions.evm_chain import EvmChain
from tests.conditions.looking import Looking, reason_of, result_of
from tests.support.raw_server import RawServer, Serve

SUBJECT = RpcSubject("node-1", family="evm")
HEAD = Head(100, "00", 1000.0)


@pytest.mark.parametrize("within", [0, 5])
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_blocks_behind_decide(within: int, off: int) -> None:
    behind = max(0, within + off)
    verdict = NodeSynced(SUBJECT, within_blocks=within).judge(SyncState(1e9, HEAD, behind), None)
    if behind > within:
        assert reason_of(verdict) == f"node-1 is not in sync: it lacks {behind} blocks"
    else:
        assert result_of(verdict) == {
            "head": {"height": 100, "hash": "00", "time": 1000.0},
            "age_seconds": 1e9 - 1000,
            "behind": behind,
        }


@pytest.mark.parametrize("age", [-100.0, 59.0, 60.0, 60.5, 61.0])
def test_the_age_of_the_head_decides(age: float) -> None:
    verdict = NodeSynced(SUBJECT, within_seconds=60).judge(SyncState(1000 + age, HEAD, None), None)
    if age > 60:
        assert "its last block, 100, is 6" in reason_of(verdict)
    else:
        assert result_of(verdict)["age_seconds"] == age


@pytest.mark.parametrize("behind", [0, 1])
@pytest.mark.parametrize("age", [60, 61])
def test_where_both_are_asked_for_both_must_hold(behind: int, age: int) -> None:
    condition = NodeSynced(SUBJECT, within_blocks=0, within_seconds=60)
    verdict = condition.judge(SyncState(1000.0 + age, HEAD, behind), None)
    assert type(verdict).__name__ == ("Met" if (behind, age) == (0, 60) else "Waiting")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (SyncState(1000.0, None, obstacle="it is starting: Loading"), "it is starting: Loading"),
        (SyncState(1000.0, HEAD, 0, "it is in its initial download"), "initial download"),
        (SyncState(1000.0, HEAD, None), "does not say how many blocks"),
    ],
)
def test_what_keeps_it_from_being_in_sync_is_told(state: SyncState, reason: str) -> None:
    condition = NodeSynced(SUBJECT, within_blocks=10**9, within_seconds=1e9)
    assert reason in reason_of(condition.judge(state, None))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "within_blocks"),
        ({"within_blocks": -1}, "within_blocks"),
        ({"within_blocks": "3"}, "within_blocks"),
        ({"within_seconds": 0}, "within_seconds"),
        ({"within_seconds": float("nan")}, "within_seconds"),
        ({"within_seconds": "60"}, "within_seconds"),
        ({"within_seconds": True}, "within_seconds"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(BloqConfigurationError) as wrong:
        NodeSynced(SUBJECT, **fields)
    assert wrong.value.fields == (field,)


@pytest.mark.anvil
def test_a_real_chain_is_as_old_as_its_last_block(bloq: BothWays, eth: RpcSubject, chain: EvmChain) -> None:
    made = float(int(chain.block(chain.height)["timestamp"], 16))
    condition = NodeSynced(eth, within_blocks=0, within_seconds=30)
    young = Looking(bloq, condition, NodeSync(eth, clock=lambda: made + 30))
    assert result_of(young.look())["age_seconds"] == 30
    old = Looking(bloq, condition, NodeSync(eth, clock=lambda: made + 31))
    assert "31 seconds old" in reason_of(old.look())


def test_without_another_clock_it_is_that_of_this_machine(outsider: BothWays, btc: RpcSubject) -> None:
    before = time.time()
    result = result_of(Looking(outsider, NodeSynced(btc, within_blocks=0)).look())
    assert before <= result["age_seconds"] + result["head"]["time"] <= time.time()


class EvmNode:
    """An EVM node that answers as scripted."""

    def __init__(self, serve: Serve) -> None:
        self.syncing: Any = False
        self.height = 50
        self.server: RawServer = serve(answering_by(lambda calls: [self._answer(call) for call in calls]))

    def _answer(self, call: dict[str, Any]) -> dict[str, Any]:
        block = {"number": hex(self.height), "hash": f"0x{'ab' * 32}", "timestamp": "0x10"}
        answers = {"eth_syncing": self.syncing, "eth_getBlockByNumber": block}
        return {"jsonrpc": "2.0", "id": call["id"], "result": answers[call["method"]]}


@pytest.fixture
def evm_node(serve: Serve) -> EvmNode:
    return EvmNode(serve)


@pytest.mark.parametrize(
    ("syncing", "height", "reason"),
    [
        (False, 50, None),
        (False, 0, "it has the genesis block only"),
        ({"currentBlock": "0x32", "highestBlock": "0x32"}, 50, None),
        ({"currentBlock": "0x32", "highestBlock": "0x35"}, 50, None),
        ({"currentBlock": "0x32", "highestBlock": "0x36"}, 50, "it lacks 4 blocks"),
        # While it fetches the state, its currentBlock runs ahead of what it can answer for.
        ({"currentBlock": "0x63", "highestBlock": "0x64"}, 50, "it lacks 50 blocks"),
        ({"stages": []}, 50, "it does not say how many blocks it lacks"),
    ],
)
def test_what_an_evm_node_says(
    outsider: BothWays, evm_node: EvmNode, syncing: Any, height: int, reason: str | None
) -> None:
    evm_node.syncing, evm_node.height = syncing, height
    condition = NodeSynced(RpcSubject.of(evm_node.server.url, family="evm"), within_blocks=3)
    verdict = Looking(outsider, condition).look()
    if reason is None:
        assert result_of(verdict)["head"]["height"] == height
    else:
        assert reason in reason_of(verdict)
    assert len(evm_node.server.requests) == 1


@pytest.mark.parametrize("syncing", [True, None, "no", {"highestBlock": "many"}])
def test_a_state_that_cannot_be_read_is_none(outsider: BothWays, evm_node: EvmNode, syncing: Any) -> None:
    evm_node.syncing = syncing
    condition = NodeSynced(RpcSubject.of(evm_node.server.url, family="evm"), within_blocks=3)
    with pytest.raises(BloqUnavailable):
        Looking(outsider, condition).look()


def test_what_bitcoins_daemon_says(outsider: BothWays, btc: RpcSubject, btc_node: BitcoinNode) -> None:
    looking = Looking(outsider, NodeSynced(btc, within_blocks=2))
    btc_node.fault = RpcFault(-28, "Verifying blocks…")
    assert "it is starting: Verifying blocks" in reason_of(looking.look())
    btc_node.fault = None
    btc_node.headers = 103
    assert "it lacks 3 blocks" in reason_of(looking.look())
    btc_node.height = 101
    btc_node.initial_download = True
    assert "initial download" in reason_of(looking.look())
    btc_node.initial_download = False
    assert result_of(looking.look())["behind"] == 2


def test_a_refusal_is_raised_as_it_is(outsider: BothWays, btc: RpcSubject, btc_node: BitcoinNode) -> None:
    btc_node.fault = RpcFault(-32601, "Method not found")
    with pytest.raises(BloqRpcError):
        Looking(outsider, NodeSynced(btc, within_blocks=2)).look()
