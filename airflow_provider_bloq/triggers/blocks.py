"""``BloqBlockTrigger``: fires on each new final block of a chain."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from airflow_provider_bloq.chains.tellings import Blocks, Telling
from airflow_provider_bloq.triggers.chain_events import BloqChainTrigger

__all__ = ["BloqBlockTrigger"]


class BloqBlockTrigger(BloqChainTrigger):
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

    kind: ClassVar[str] = "blocks"

    def __init__(self, *, every: int = 1, max_range: int | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.blocks = Blocks.of(every, max_range)

    @property
    def telling(self) -> Telling:
        """See :attr:`BloqEventTrigger.telling`."""
        return self.blocks

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See :meth:`BloqEventTrigger.serialize`."""
        classpath, arguments = super().serialize()
        return classpath, {**arguments, **asdict(self.blocks)}
