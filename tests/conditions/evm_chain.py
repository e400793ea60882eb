"""A real Ethereum chain that does what a test says: mines when told, forgets, replaces and reorganises."""

from __future__ import annotations

import itertools
import json
import urllib.request
from typing import Any

from airflow_provider_bloq.testing.anvil import Anvil

__all__ = ["EvmChain"]

#: Init code of a contract that does nothing but revert: PUSH1 0, PUSH1 0, REVERT.
_REVERTING = "0x60006000fd"
GWEI = 10**9


class EvmChain:
    """Talks to the chain itself, past all that is under test.

    :param anvil: The chain, which several tests may use one after another.
    """

    def __init__(self, anvil: Anvil) -> None:
        self.url = anvil.url
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(self, method: str, *params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with self._opener.open(request, timeout=60) as reply:
            answer = json.load(reply)
        assert "error" not in answer, answer
        return answer["result"]

    def begin(self) -> None:
        """Mine only when told, with nothing pending, on a few blocks that a reorg may take."""
        self.call("evm_setAutomine", False)
        self.call("anvil_dropAllTransactions")
        self.mine(5)

    @property
    def height(self) -> int:
        return int(self.call("eth_blockNumber"), 16)

    def block(self, height: int) -> dict[str, Any]:
        block: dict[str, Any] = self.call("eth_getBlockByNumber", hex(height), False)
        return block

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.call("evm_mine")

    def new_account(self) -> str:
        """Return a funded account of whose nonces nothing is used."""
        address = f"0x{next(_ADDRESSES):040x}"
        self.call("anvil_setBalance", address, hex(10**20))
        self.call("anvil_impersonateAccount", address)
        return address

    def send(self, sender: str, nonce: int = 0, *, fee: int = 10, reverting: bool = False) -> str:
        """Send a transaction; it waits for the next block.

        :param fee: In gwei; a higher one replaces a transaction of the same nonce.
        """
        fields: dict[str, Any] = {
            "from": sender,
            "nonce": hex(nonce),
            "gas": hex(100_000),
            "maxFeePerGas": hex(fee * GWEI),
            "maxPriorityFeePerGas": hex(fee * GWEI),
        }
        fields |= {"data": _REVERTING} if reverting else {"to": f"0x{7:040x}", "value": "0x1"}
        sent: str = self.call("eth_sendTransaction", fields)
        return sent

    def drop(self, tx_hash: str) -> None:
        """Have the node forget a pending transaction."""
        assert self.call("anvil_dropTransaction", tx_hash) == tx_hash

    def reorganise(self, depth: int) -> None:
        """Replace the last blocks by empty ones; what was in them is gone from the node."""
        self.call("anvil_reorg", depth, [])


_ADDRESSES = itertools.count(0x1000_0000)
