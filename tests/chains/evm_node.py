"""A scripted node of an EVM chain: it answers from a chain in memory, over a socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_bloq.chains.blocks import BlockHeader

__all__ = ["EvmNode", "log_of", "long_hash"]


def long_hash(name: int) -> str:
    return f"0x{name:064x}"


def log_of(block: BlockHeader, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "blockNumber": hex(block.height),
        "blockHash": block.hash,
        "transactionHash": long_hash(0xAA00 + index),
        "transactionIndex": hex(index),
        "logIndex": hex(index),
        "address": "0x" + "C0" * 20,
        "topics": ["0x" + "AB" * 32],
        "data": "0xFF",
        **fields,
    }


class EvmNode:
    """Answers by the method of a call.

    :param length: Blocks of its chain.
    """

    def __init__(self, length: int) -> None:
        self.blocks = [
            BlockHeader(height, long_hash(0x1000 + height), long_hash(0x1000 + height - 1), 1_000 + height)
            for height in range(length)
        ]
        self.logs: list[dict[str, Any]] = []
        #: The most blocks that it searches for logs; None for any number.
        self.search_limit: int | None = None
        self.finalized: int | None = None
        #: Is called with each method before it is answered.
        self.before: Callable[[str], object] = lambda method: None
        self.methods: list[str] = []

    def __call__(self, body: Any) -> Any:
        return [self._answer(call) for call in body] if isinstance(body, list) else self._answer(body)

    def _answer(self, call: dict[str, Any]) -> dict[str, Any]:
        self.before(call["method"])
        self.methods.append(call["method"])
        answer = getattr(self, call["method"])(*call["params"])
        key = "error" if isinstance(answer, dict) and "code" in answer else "result"
        return {"jsonrpc": "2.0", "id": call["id"], key: answer}

    def eth_getBlockByNumber(self, number: str, full: bool) -> Any:  # noqa: N802
        if number == "finalized":
            if self.finalized is None:
                return {"code": -39001, "message": "finalized block not found"}
            number = hex(self.finalized)
        height = len(self.blocks) - 1 if number == "latest" else int(number, 16)
        if height >= len(self.blocks):
            return None
        block = self.blocks[height]
        return {
            "number": hex(block.height),
            "hash": block.hash,
            "parentHash": block.parent,
            "timestamp": hex(block.time),
        }

    def eth_getLogs(self, wanted: dict[str, Any]) -> Any:  # noqa: N802
        first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
        if self.search_limit is not None and last - first + 1 > self.search_limit:
            return {"code": -32005, "message": "query returned more than 10000 results"}
        return [log for log in self.logs if first <= int(log["blockNumber"], 16) <= last]
