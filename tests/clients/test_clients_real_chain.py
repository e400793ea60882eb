"""Calls of a real Ethereum chain behind a real node's door."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.exceptions import BloqRpcError
from airflow_provider_bloq.testing.anvil import Anvil
from airflow_provider_bloq.testing.local import LocalBloq
from tests.clients.both_ways import BothWays

pytestmark = pytest.mark.anvil
ETHER = 10**18
#: The first of the accounts that the chain starts with.
RICH = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


@pytest.fixture
def rpc(chains: LocalBloq, bloq_with_chains: BothWays) -> Any:
    node = bloq_with_chains.nodes.create(chains.service_id("eth"))
    return bloq_with_chains.rpc(node, pin=chains.node_fingerprint(node.id))


def test_numbers_and_balances(chain: Anvil, rpc: Any) -> None:
    assert rpc.call("eth_chainId") == "0x7a69"
    assert int(rpc.call("eth_blockNumber"), 16) >= 0
    assert int(rpc.call("eth_getBalance", [RICH, "0x0"]), 16) == 10_000 * ETHER
    assert "anvil" in rpc.call("web3_clientVersion")
    assert rpc.call("eth_getBlockByNumber", ["0x0", False])["number"] == "0x0"


def test_a_thousand_calls_in_twenty_requests(chains: LocalBloq, rpc: Any) -> None:
    addresses = [f"0x{number:040x}" for number in range(10_000, 11_000)]
    rpc.call("anvil_setBalance", [addresses[7], hex(7 * ETHER)])
    rpc.call("anvil_setBalance", [addresses[999], hex(2**200)])
    chains.reset_counters()
    balances = rpc.batch([("eth_getBalance", [address, "latest"]) for address in addresses])
    assert chains.counters().calls["rpc POST /"] == 20
    assert {index: int(balance, 16) for index, balance in enumerate(balances) if balance != "0x0"} == {
        7: 7 * ETHER,
        999: 2**200,
    }


def test_errors_stand_in_their_places(rpc: Any) -> None:
    first, unknown, last = rpc.batch(["eth_chainId", "eth_noSuchMethod", "net_version"], return_errors=True)
    assert (first, last) == ("0x7a69", "31337")
    assert isinstance(unknown, BloqRpcError)
    assert unknown.code == -32601
    with pytest.raises(BloqRpcError) as wrong:
        rpc.call("eth_getBalance", ["no address", "latest"])
    assert wrong.value.code == -32602
