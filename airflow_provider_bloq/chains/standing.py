"""How transactions stand: unknown, pending, in a block, or overtaken by another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from airflow_provider_bloq.chains.head import Head

__all__ = ["Mined", "Standing", "Standings", "Uses"]

#: What a transaction uses, which nothing can use twice: its sender's address with the nonce (EVM), or the
#: outputs that it spends, each as the hash of their transaction with their number (Bitcoin).
Uses: TypeAlias = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Mined:
    """The place of a transaction in the chain.

    :param height: Number of its block.
    :param block_hash: Hash of its block.
    :param confirmations: How many it has; one if its block is the head, none if the head was read before
        the block came.
    :param reverted: Whether it failed when it was executed, so that it had no effect but its fee.
    """

    height: int
    block_hash: str
    confirmations: int
    reverted: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How one transaction stands with one node.

    :param mined: Where it is in the chain; None if it is not.
    :param pending: Whether it waits to be mined. If neither, the node does not know it.
    :param uses: What it uses, as far as the node or who asked knows it.
    :param overtaken: Whether a transaction in the chain, which is not this one, has used any of that.
    """

    mined: Mined | None = None
    pending: bool = False
    uses: Uses = ()
    overtaken: bool = False


@dataclass(frozen=True, slots=True)
class Standings:
    """How many transactions stand, all seen in one look.

    :param observed_at: When, in seconds since the epoch, by the clock of who looked.
    :param head: The head of the chain.
    :param of: The transactions by their hashes, as these were asked for.
    """

    observed_at: float
    head: Head
    of: Mapping[str, Standing]
