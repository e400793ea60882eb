"""A chain in memory that can be reorganised, and what somebody makes of the events about it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, TypeVar

from airflow_provider_bloq.chains.blocks import BlockHeader
from airflow_provider_bloq.flow.effects import Flow

__all__ = ["ChainModel", "Follower", "ended"]

T = TypeVar("T")


def ended(flow: Flow[T]) -> T:
    """Run a flow that needs nothing from outside."""
    try:
        effect = next(flow)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError(f"it asks for {effect}")


class ChainModel:
    """A chain of headers, from the genesis block on."""

    def __init__(self, length: int = 1) -> None:
        self._names = itertools.count()
        self.blocks: list[BlockHeader] = []
        self.mine(length)

    def mine(self, count: int = 1) -> None:
        for _ in range(count):
            parent = self.blocks[-1].hash if self.blocks else "none"
            height = len(self.blocks)
            self.blocks.append(BlockHeader(height, f"block-{next(self._names)}", parent, 1_000 + height))

    def reorg(self, depth: int, length: int) -> None:
        """Replace the last blocks by others."""
        del self.blocks[len(self.blocks) - depth :]
        self.mine(length)

    def final(self, confirmations: int) -> BlockHeader:
        return self.blocks[max(0, len(self.blocks) - confirmations)]

    def read(self, first: int, last: int) -> Flow[list[BlockHeader]]:
        yield from ()
        return self.blocks[first : last + 1]


@dataclass
class Follower:
    """Keeps the chain that it is told of, and objects to what does not fit."""

    base: int
    blocks: list[BlockHeader] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def height(self) -> int:
        return self.base + len(self.blocks)

    def add(self, headers: Any) -> None:
        for header in headers:
            assert header.height == self.height + 1
            if self.blocks:
                assert header.parent == self.blocks[-1].hash
            self.blocks.append(header)
            self.told.append(header.hash)

    def undo(self, first: int, last: int) -> None:
        assert last == self.height
        assert self.base < first <= last
        del self.blocks[first - self.base - 1 :]
