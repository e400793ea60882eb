"""The address index of one chain: all of its blocks, and what waits for one. It does no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.testing.local.connect.transaction_set import Spender, TransactionSet
from airflow_provider_bloq.testing.local.connect.transactions import (
    Outpoint,
    Output,
    Transaction,
    read_transaction,
)

__all__ = ["AddressIndex", "Block", "read_block"]


@dataclass(frozen=True, slots=True)
class Block:
    """A block of the best chain.

    :param previous: Hash of the one before; None for the first of all.
    :param time: Seconds since the epoch, as its miner wrote.
    :param size: Bytes.
    """

    hash: str
    previous: str | None
    height: int
    time: int
    size: int
    txids: tuple[str, ...]


def read_block(told: Mapping[str, Any]) -> tuple[Block, tuple[Transaction, ...]]:
    """Read a block as ``getblock`` with verbosity 3 tells it."""
    transactions = tuple(read_transaction(one) for one in told["tx"])
    block = Block(
        hash=told["hash"],
        previous=told.get("previousblockhash"),
        height=told["height"],
        time=told["time"],
        size=told["size"],
        txids=tuple(one.txid for one in transactions),
    )
    return block, transactions


class AddressIndex:
    """What is known of one chain. Touched on the event loop only."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.confirmed = TransactionSet()
        self.waiting = TransactionSet()
        self._heights: dict[str, int] = {}
        self._since: dict[str, int] = {}

    @property
    def height(self) -> int:
        """Height of the newest block; -1 before the first."""
        return len(self.blocks) - 1

    def connect(self, block: Block, transactions: Sequence[Transaction]) -> None:
        """Put a block on top.

        :raises ValueError: It does not follow the newest one.
        """
        if block.height != len(self.blocks) or (self.blocks and block.previous != self.blocks[-1].hash):
            raise ValueError(f"block {block.hash} does not follow the newest one")
        self.blocks.append(block)
        for transaction in transactions:
            if transaction.txid in self.waiting:
                self.leave(transaction.txid)
            self.confirmed.add(transaction)
            self._heights[transaction.txid] = block.height

    def disconnect(self) -> Block:
        """Take the newest block away and return it."""
        block = self.blocks.pop()
        for txid in reversed(block.txids):
            self.confirmed.remove(txid)
            del self._heights[txid]
        return block

    def enter(self, transaction: Transaction, since: int) -> None:
        """Note a transaction that waits for a block.

        :param since: Since when, in seconds since the epoch.
        """
        self.waiting.add(transaction)
        self._since[transaction.txid] = since

    def leave(self, txid: str) -> None:
        """Note that a transaction waits no longer."""
        self.waiting.remove(txid)
        del self._since[txid]

    def transaction(self, txid: str) -> Transaction | None:
        """Return a transaction that is in a block or waits for one."""
        return self.confirmed.get(txid) or self.waiting.get(txid)

    def block_of(self, txid: str) -> Block | None:
        """Return the block that a transaction is in."""
        height = self._heights.get(txid)
        return None if height is None else self.blocks[height]

    def confirmations(self, txid: str) -> int:
        """Return how many blocks confirm a transaction: 1 if it is in the newest, 0 if it is in none."""
        height = self._heights.get(txid)
        return 0 if height is None else self.height - height + 1

    def waiting_since(self, txid: str) -> int:
        """Return since when a transaction waits, in seconds since the epoch."""
        return self._since[txid]

    def output(self, outpoint: Outpoint) -> Output | None:
        """Return an output, whether it is in a block or not."""
        return self.confirmed.output(outpoint) or self.waiting.output(outpoint)

    def spender(self, outpoint: Outpoint) -> Spender | None:
        """Return what spends an output, whether it is in a block or not."""
        return self.confirmed.spender(outpoint) or self.waiting.spender(outpoint)
