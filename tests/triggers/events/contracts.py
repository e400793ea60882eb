"""Transactions that pay, and contracts that do nothing but log, on a steered chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.conditions.evm_chain import GWEI, EvmChain

__all__ = ["TRANSFER", "logging_code", "send", "word"]

TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


def word(value: int | str) -> str:
    """Return a number or an address as 32 bytes."""
    number = int(value, 16) if isinstance(value, str) else value
    return f"0x{number:064x}"


def logging_code(topics: Sequence[str], data: str = "0x") -> str:
    """Return init code that logs once, with up to 32 bytes of data."""
    size = (len(data) - 2) // 2
    keep_data = f"7f{data[2:]:0<64}600052"
    push_topics = "".join(f"7f{topic[2:]}" for topic in reversed(topics))
    return f"0x{keep_data}{push_topics}60{size:02x}6000a{len(topics)}"


def send(evm: EvmChain, sender: str, nonce: int, **fields: Any) -> str:
    """Send a transaction; it waits for the next block."""
    price = {"maxFeePerGas": hex(10 * GWEI), "maxPriorityFeePerGas": hex(10 * GWEI)}
    sent: str = evm.call(
        "eth_sendTransaction", {"from": sender, "nonce": hex(nonce), "gas": hex(200_000), **price, **fields}
    )
    return sent
