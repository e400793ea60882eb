"""``BloqBlockTrigger``: fires on each new final block of a chain."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_provider_bloq.chains.tellings import Blocks, Telling
from airflow_provider_bloq.clients.limits import require_whole_number
from airflow_provider_bloq.triggers.chain_events import BloqChainTrigger

__all__ = ["BloqBlockTrigger"]

#: Blocks in one event, unless told otherwise.
DEFAULT_RANGE = 100
#: The most that can be asked for: so many headers are read at once.
MOST_BLOCKS = 10_000


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
        require_whole_number("every", every, least=1, most=MOST_BLOCKS)
        if max_range is None:
            max_range = max(every, DEFAULT_RANGE)
        require_whole_number("max_range", max_range, least=every, most=MOST_BLOCKS)
        self.every = every
        self.max_range = max_range

    @property
    def telling(self) -> Telling:
        """See :attr:`BloqChainTrigger.telling`."""
        return Blocks(self.every, self.max_range)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See :meth:`BloqChainTrigger.serialize`."""
        classpath, arguments = super().serialize()
        return classpath, {**arguments, "every": self.every, "max_range": self.max_range}
