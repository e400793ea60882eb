"""What a watcher tells of a chain's blocks: of each, of ranges of them, of their logs or their transfers.

An event depends on the blocks it tells of and on nothing else, so that it comes out the same again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias

from airflow_provider_bloq.arguments import require_whole_number
from airflow_provider_bloq.chains.blocks import BlockHeader
from airflow_provider_bloq.chains.cursor import Reorg
from airflow_provider_bloq.chains.logs import LogFilter
from airflow_provider_bloq.chains.sources import ChainSource
from airflow_provider_bloq.chains.transfers import TransferFilter
from airflow_provider_bloq.flow.effects import Flow

__all__ = [
    "EVENTS_AT_ONCE",
    "BlockEventBuilder",
    "EventBuilder",
    "EventPayload",
    "LogEventBuilder",
    "TransferEventBuilder",
    "first_batch",
    "reorg_event",
]


#: Plain JSON. Each has ``event`` (what it is) and ``id`` (the same for the same event, another for every other).
EventPayload: TypeAlias = dict[str, Any]

#: Events that are sent off before those are known to have arrived.
EVENTS_AT_ONCE = 50
#: Logs or transfers in one event.
ITEMS_PER_EVENT = 100
#: Headers that are read at once: ten requests.
HEADERS_AT_ONCE = 500
#: Blocks whose transactions are read at once.
BODIES_AT_ONCE = 20
#: Blocks in one event, unless told otherwise.
DEFAULT_RANGE = 100
#: The most that can be asked for: so many headers are read at once.
LONGEST_RANGE = 10_000


class EventBuilder(ABC):
    """What is told of blocks. A subclass is a frozen dataclass."""

    @abstractmethod
    def last_height(self, passed: int, final: int) -> int | None:
        """Return up to where blocks are to be told of now; None if nothing is to be told yet.

        :param passed: Height of the last block that was told of.
        :param final: Height of the last final block.
        """

    @abstractmethod
    def events(self, source: ChainSource, headers: Sequence[BlockHeader]) -> Flow[list[EventPayload]]:
        """Tell of blocks. The events are in the order of the blocks; each has a ``last`` or a ``height``.

        :param source: Where the chain is read from.
        :param headers: The blocks, linked to one another.
        """


@dataclass(frozen=True, slots=True)
class BlockEventBuilder(EventBuilder):
    """Ranges of blocks. Make it by :meth:`of`.

    :param every: An event ends at a height that this number divides.
    :param max_range: Blocks in one event at most, not less than ``every``.
    """

    every: int
    max_range: int

    @classmethod
    def of(cls, every: int = 1, max_range: int | None = None) -> BlockEventBuilder:
        """Read it from the arguments that triggers take; by default ranges are of at most 100 blocks.

        :raises BloqConfigurationError: One of them cannot be.
        """
        require_whole_number("every", every, least=1, most=LONGEST_RANGE)
        if max_range is None:
            max_range = max(every, DEFAULT_RANGE)
        require_whole_number("max_range", max_range, least=every, most=LONGEST_RANGE)
        return cls(every, max_range)

    def last_height(self, passed: int, final: int) -> int | None:
        """See :meth:`Telling.last_height`."""
        most = max(self.every, min(EVENTS_AT_ONCE * self._longest, HEADERS_AT_ONCE))
        last = min(final, passed + most) // self.every * self.every
        return last if last > passed else None

    def events(self, source: ChainSource, headers: Sequence[BlockHeader]) -> Flow[list[EventPayload]]:
        """See :meth:`Telling.events`."""
        yield from ()
        by_range = groupby(headers, key=lambda header: (header.height - 1) // self._longest)
        return [_range_event(tuple(blocks)) for _, blocks in by_range]

    @property
    def _longest(self) -> int:
        # A multiple of ``every``, so that a range also ends there when it is cut for its length.
        return self.max_range // self.every * self.every


@dataclass(frozen=True, slots=True)
class LogEventBuilder(EventBuilder):
    """The logs of contracts, block by block; EVM chains only.

    :param wanted: Which logs.
    """

    wanted: LogFilter

    def last_height(self, passed: int, final: int) -> int | None:
        """See :meth:`Telling.last_height`."""
        return min(final, passed + HEADERS_AT_ONCE) if final > passed else None

    def events(self, source: ChainSource, headers: Sequence[BlockHeader]) -> Flow[list[EventPayload]]:
        """See :meth:`Telling.events`."""
        return _block_events("logs", headers, (yield from source.logs(self.wanted, headers)))


@dataclass(frozen=True, slots=True)
class TransferEventBuilder(EventBuilder):
    """The transfers to or from addresses, block by block.

    :param wanted: Which transfers.
    :param at_once: Blocks in which they are looked for at once; by default few if that takes whole blocks.
    """

    wanted: TransferFilter
    at_once: int | None = None

    def last_height(self, passed: int, final: int) -> int | None:
        """See :meth:`Telling.last_height`."""
        most = self.at_once or (BODIES_AT_ONCE if self.wanted.native else HEADERS_AT_ONCE)
        return min(final, passed + most) if final > passed else None

    def events(self, source: ChainSource, headers: Sequence[BlockHeader]) -> Flow[list[EventPayload]]:
        """See :meth:`Telling.events`."""
        return _block_events("transfers", headers, (yield from source.transfers(self.wanted, headers)))


def first_batch(
    headers: Sequence[BlockHeader], events: Sequence[EventPayload]
) -> tuple[Sequence[BlockHeader], Sequence[EventPayload]]:
    """Cut off blocks, and what is told of them, where that is more than should be sent off at once.

    :param headers: The blocks.
    :param events: What :meth:`Telling.events` gave of them.
    :return: As many of the first blocks as have no more events, but at least one that has any.
    """
    ends = [int(event["last"] if "last" in event else event["height"]) for event in events]
    if len(events) <= EVENTS_AT_ONCE:
        return headers, events
    whole = [end for end in ends[:EVENTS_AT_ONCE] if end < ends[EVENTS_AT_ONCE]]
    last = whole[-1] if whole else ends[0]
    told = [event for event, end in zip(events, ends, strict=True) if end <= last]
    return [header for header in headers if header.height <= last], told


def reorg_event(reorg: Reorg, replaced: str) -> EventPayload:
    """Tell that blocks which had been told of were replaced.

    :param reorg: The reorg.
    :param replaced: Hash that the last of these blocks had.
    """
    return {
        "event": "reorg",
        "id": f"reorg:{reorg.first}-{reorg.last}:{replaced}",
        "first": reorg.first,
        "last": reorg.last,
        "complete": reorg.is_complete,
    }


def _range_event(blocks: tuple[BlockHeader, ...]) -> EventPayload:
    first, last = blocks[0], blocks[-1]
    return {
        "event": "blocks",
        "id": f"blocks:{first.height}-{last.height}:{last.hash}",
        "first": first.height,
        "last": last.height,
        "first_hash": first.hash,
        "last_hash": last.hash,
        "parent_hash": first.parent,
        "first_time": first.time,
        "last_time": last.time,
    }


def _block_events(
    what: str, headers: Sequence[BlockHeader], items: Sequence[dict[str, Any]]
) -> list[EventPayload]:
    times = {header.height: header.time for header in headers}
    events: list[EventPayload] = []
    for height, of_block in groupby(items, key=lambda item: int(item["height"])):
        found = list(of_block)
        parts = [found[start : start + ITEMS_PER_EVENT] for start in range(0, len(found), ITEMS_PER_EVENT)]
        for number, part in enumerate(parts, start=1):
            block_hash = part[0]["block_hash"]
            events.append(
                {
                    "event": what,
                    "id": f"{what}:{height}:{block_hash}:{number}",
                    "height": height,
                    "block_hash": block_hash,
                    "time": times[height],
                    "part": number,
                    "parts": len(parts),
                    what: [
                        {n: v for n, v in item.items() if n not in ("height", "block_hash")} for item in part
                    ],
                }
            )
    return events
