"""A cursor that follows a chain block by block across restarts and reorgs.

It keeps the hashes of the last processed blocks. If the next block does not build on them, final blocks were
reorganised, and the fork is searched for among those hashes.
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


#: Number of hashes a cursor keeps: a deeper fork cannot be located. It is the length of two Ethereum epochs, after
#: which a block is final.
WINDOW = 64

#: Reads the headers of a range of heights, as far as they exist.
ReadHeaders: TypeAlias = Callable[[int, int], Flow[list[BlockHeader]]]


@dataclass(frozen=True, slots=True)
class ChainCursor:
    """The position up to which a chain was processed.

    :param base: Height just below the first block to process; lower blocks do not matter.
    :param height: Height of the last processed block; ``base`` if there is none yet.
    :param hashes: Hashes of the last blocks up to it, highest last; at most :data:`WINDOW`. Empty if the parent
        of the next block is unknown.
    """

    base: int
    height: int
    hashes: tuple[str, ...] = ()

    @classmethod
    def after(cls, block: BlockHeader) -> Self:
        """Return a cursor that continues after a block."""
        return cls(block.height, block.height, (block.hash,))

    @classmethod
    def before(cls, height: int) -> Self:
        """Return a cursor whose first block is the one at a height."""
        return cls(height - 1, height - 1)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Read the JSON of :meth:`to_json`."""
        return cls(fields["base"], fields["height"], tuple(fields["hashes"]))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"base": self.base, "height": self.height, "hashes": list(self.hashes)}

    @property
    def lowest(self) -> int:
        """Height of the lowest block whose hash is kept."""
        return self.height - len(self.hashes) + 1

    def hash_at(self, height: int) -> str | None:
        """Return the hash kept for a height, if any."""
        return self.hashes[height - self.lowest] if self.lowest <= height <= self.height else None

    def past(self, headers: Sequence[BlockHeader]) -> ChainCursor:
        """Return the cursor after these further blocks."""
        hashes = (*self.hashes, *(header.hash for header in headers))
        return replace(self, height=self.height + len(headers), hashes=hashes[-WINDOW:])

    def back_at(self, height: int) -> ChainCursor:
        """Return the cursor moved back to a height."""
        return replace(self, height=height, hashes=self.hashes[: max(0, height - self.lowest + 1)])


@dataclass(frozen=True, slots=True)
class Advance:
    """New blocks that build on the processed ones.

    :param headers: The blocks; empty if only the cursor has to be corrected.
    :param cursor: The cursor after them.
    """

    headers: tuple[BlockHeader, ...]
    cursor: ChainCursor


@dataclass(frozen=True, slots=True)
class Reorg:
    """Processed blocks that are no longer in the chain.

    :param first: Height of the lowest of them.
    :param last: Height of the highest of them.
    :param cursor: The cursor at the fork, before the new blocks.
    :param is_complete: False if the fork is below all hashes that the cursor keeps: blocks below ``first`` may
        have been replaced too.
    """

    first: int
    last: int
    cursor: ChainCursor
    is_complete: bool = True


def next_step(
    read: ReadHeaders, cursor: ChainCursor, final: BlockHeader, last: int | None
) -> Flow[Advance | Reorg | None]:
    """Find what comes after a cursor. Replaced blocks are always reported as a :class:`Reorg`.

    :param read: Reads headers.
    :param cursor: The current position.
    :param final: The last block that counts as final.
    :param last: Height of the last block wanted now, not above the final one; None if no blocks are wanted.
    :return: The step; None if there is none yet, or if the chain changed while it was read.
    """
    passed = cursor.hash_at(final.height)
    if passed is not None and passed != final.hash:
        return (yield from _fork(read, cursor, final))
    if last is None or last <= cursor.height:
        return None
    headers = yield from read(cursor.height + 1, last)
    if not headers or not _are_linked(headers, cursor.height + 1, final):
        return None
    if cursor.hashes and headers[0].parent != cursor.hashes[-1]:
        return (yield from _fork(read, cursor, final))
    return Advance(tuple(headers), cursor.past(headers))


def _are_linked(headers: Sequence[BlockHeader], first: int, final: BlockHeader) -> bool:
    """Return whether headers form one piece of the chain that the final block belongs to."""
    return (
        [header.height for header in headers] == list(range(first, first + len(headers)))
        and all(above.parent == below.hash for below, above in pairwise(headers))
        and all(header.hash == final.hash for header in headers if header.height == final.height)
        and all(header.hash == final.parent for header in headers if header.height == final.height - 1)
    )


def _fork(read: ReadHeaders, cursor: ChainCursor, final: BlockHeader) -> Flow[Advance | Reorg | None]:
    headers = yield from read(cursor.lowest, min(cursor.height, final.height))
    if not headers or not _are_linked(headers, cursor.lowest, final):
        return None
    common = [header.height for header in headers if cursor.hash_at(header.height) == header.hash]
    if common and common[-1] == headers[-1].height:
        # The chain is again the processed one, as far as the node has it.
        return None
    if common:
        return Reorg(common[-1] + 1, cursor.height, cursor.back_at(common[-1]))
    if cursor.lowest - 1 > cursor.base:
        at_fork = replace(cursor, height=cursor.lowest - 1, hashes=())
        return Reorg(cursor.lowest, cursor.height, at_fork, is_complete=False)
    # The cursor keeps all processed blocks, and all are gone.
    at_base = ChainCursor.before(cursor.base + 1)
    if cursor.height == cursor.base:
        return Advance((), at_base)
    return Reorg(cursor.base + 1, cursor.height, at_base)
