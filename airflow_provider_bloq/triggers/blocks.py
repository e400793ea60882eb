"""``BloqBlockTrigger``: fires on each new final block of a chain."""

from __future__ import annotations

from airflow_provider_bloq.triggers.block_events import BlockEvents
from airflow_provider_bloq.triggers.chain_events import BloqChainTrigger

__all__ = ["BloqBlockTrigger"]


class BloqBlockTrigger(BlockEvents, BloqChainTrigger):
    """Fire on each new final block, on each n-th, or on ranges of them.

    An event tells of a range of blocks: in daily life of the one that has just become final, of more where a look
    finds several or where the watcher has to catch up::

        {"event": "blocks", "id": "blocks:100-101:0x5e…", "first": 100, "last": 101,
         "first_hash": "0x7c…", "last_hash": "0x5e…", "parent_hash": "0x0a…",
         "first_time": 1750000000, "last_time": 1750000012, "redelivered": false}

    ``parent_hash`` is that of block ``first``; times are in seconds since the epoch, as the blocks say.

    Each block is told of once, and without a gap to the one before. For reorgs, restarts and the other arguments see
    :class:`~airflow_provider_bloq.triggers.chain_events.BloqChainTrigger`.

    :param every: Fire only when a block has become final whose height this number divides; the event then tells
        of all blocks since the one before.
    :param max_range: Blocks in one event at most. With 1, each block has an event of its own.
    """
