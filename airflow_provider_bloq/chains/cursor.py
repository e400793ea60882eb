"""Following a chain block by block: where one stands, and what comes next, across restarts and reorgs.

A cursor remembers the hashes of the last blocks that were passed. The next blocks must be linked to them, else
the chain was reorganised below what had counted as final, and the fork is looked for among those hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self, TypeAlias

from airflow_provider_bloq.chains.blocks import BlockHeader
from airflow_provider_bloq.flow.effects import Flow

__all__ = [
    "WINDOW",
    "Advance",
    "ChainCursor",
    "ReadHeaders",
    "Reorg",
    "next_step",
]


#: How many hashes a cursor keeps, and so how far below the last passed block a fork is found. Twice the
#: epochs that Ethereum needs to call a block final.
WINDOW = 64

#: Reads headers from a height to another, as far as there are any.
ReadHeaders: TypeAlias = Callable[[int, int], Flow[list[BlockHeader]]]


@dataclass(frozen=True, slots=True)
class ChainCursor:
    """How far a chain was followed.

    :param base: Height below the first block that was to be passed: what lies there is of no concern.
    :param height: Height of the last block that was passed; ``base`` while there was none.
    :param hashes: Hashes of the last blocks up to it, the highest last; at most :data:`WINDOW`. Empty if it
        is not known what the next block must be linked to.
    """

    base: int
    height: int
    hashes: tuple[str, ...] = ()

    @classmethod
    def after(cls, block: BlockHeader) -> Self:
        """Return the cursor that passes what comes after a block."""
        return cls(block.height, block.height, (block.hash,))

    @classmethod
    def before(cls, height: int) -> Self:
        """Return the cursor whose first block is the one at a height."""
        return cls(height - 1, height - 1)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        return cls(fields["base"], fields["height"], tuple(fields["hashes"]))

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON."""
        return {"base": self.base, "height": self.height, "hashes": list(self.hashes)}

    @property
    def lowest(self) -> int:
        """Height of the lowest block whose hash is remembered."""
        return self.height - len(self.hashes) + 1

    def hash_at(self, height: int) -> str | None:
        """Return the hash that is remembered of a height."""
        return self.hashes[height - self.lowest] if self.lowest <= height <= self.height else None

    def past(self, headers: Sequence[BlockHeader]) -> ChainCursor:
        """Return the cursor after further blocks."""
        hashes = (*self.hashes, *(header.hash for header in headers))
        return replace(self, height=self.height + len(headers), hashes=hashes[-WINDOW:])

    def back_at(self, height: int) -> ChainCursor:
        """Return the cursor as it would be, had no block above a height been passed."""
        return replace(self, height=height, hashes=self.hashes[: max(0, height - self.lowest + 1)])


@dataclass(frozen=True, slots=True)
class Advance:
    """Blocks came, linked to those before.

    :param headers: The blocks; empty where only the cursor has to be corrected.
    :param cursor: The cursor after them.
    """

    headers: tuple[BlockHeader, ...]
    cursor: ChainCursor


@dataclass(frozen=True, slots=True)
class Reorg:
    """Blocks that had been passed are no longer part of the chain.

    :param first: Height of the lowest of them.
    :param last: Height of the highest of them.
    :param cursor: The cursor at the fork: the new blocks come after it.
    :param is_complete: Whether no lower one was replaced. False where the fork lies below all hashes that the
        cursor remembers: then blocks below ``first`` may have been replaced as well.
    """

    first: int
    last: int
    cursor: ChainCursor
    is_complete: bool = True


def next_step(
    read: ReadHeaders, cursor: ChainCursor, final: BlockHeader, last: int | None
) -> Flow[Advance | Reorg | None]:
    """Find out what comes after a cursor. What was passed is never contradicted without a :class:`Reorg`.

    :param read: Reads headers.
    :param cursor: How far the chain was followed.
    :param final: The last block that counts as final.
    :param last: Height up to which blocks are wanted now, not above the final one; None if none are.
    :return: The step; None if there is none to be made yet, or if the chain changed while it was read.
    """
    passed = cursor.hash_at(final.height)
    if passed is not None and passed != final.hash:
        return (yield from _fork(read, cursor, final))
    if last is None or last <= cursor.height:
        return None
    headers = yield from read(cursor.height + 1, last)
    if not headers or not _belong_together(headers, cursor.height + 1, final):
        return None
    if cursor.hashes and headers[0].parent != cursor.hashes[-1]:
        return (yield from _fork(read, cursor, final))
    return Advance(tuple(headers), cursor.past(headers))


def _belong_together(headers: Sequence[BlockHeader], first: int, final: BlockHeader) -> bool:
    """Tell whether headers are one piece of the chain whose final block is known."""
    return (
        [header.height for header in headers] == list(range(first, first + len(headers)))
        and all(above.parent == below.hash for below, above in pairwise(headers))
        and all(header.hash == final.hash for header in headers if header.height == final.height)
        and all(header.hash == final.parent for header in headers if header.height == final.height - 1)
    )


def _fork(read: ReadHeaders, cursor: ChainCursor, final: BlockHeader) -> Flow[Advance | Reorg | None]:
    headers = yield from read(cursor.lowest, min(cursor.height, final.height))
    if not headers or not _belong_together(headers, cursor.lowest, final):
        return None
    common = [header.height for header in headers if cursor.hash_at(header.height) == header.hash]
    if common and common[-1] == headers[-1].height:
        # The chain is again the one that was passed, as far as the node has it.
        return None
    if common:
        return Reorg(common[-1] + 1, cursor.height, cursor.back_at(common[-1]))
    if cursor.lowest - 1 > cursor.base:
        at_fork = replace(cursor, height=cursor.lowest - 1, hashes=())
        return Reorg(cursor.lowest, cursor.height, at_fork, is_complete=False)
    # All that was ever passed is remembered, and gone.
    at_base = ChainCursor.before(cursor.base + 1)
    if cursor.height == cursor.base:
        return Advance((), at_base)
    return Reorg(cursor.base + 1, cursor.height, at_base)
