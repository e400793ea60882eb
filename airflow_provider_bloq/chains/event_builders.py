"""Events that a watcher emits for the blocks of a chain: block ranges, logs and transfers.

An event depends only on its blocks, so building it again gives the same event.
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


#: Plain JSON, with ``event`` (the type) and ``id`` (unique to the event, and the same if it is built again).
EventPayload: TypeAlias = dict[str, Any]

#: Events sent before their delivery is confirmed.
EVENTS_AT_ONCE = 50
#: Maximum number of logs or transfers in one event.
ITEMS_PER_EVENT = 100
#: Headers read at once: ten requests.
HEADERS_AT_ONCE = 500
#: Blocks read at once with their transactions.
BODIES_AT_ONCE = 20
#: Default maximum number of blocks in one event.
DEFAULT_RANGE = 100
#: Upper limit of the maximum: all headers of a range are read at once.
LONGEST_RANGE = 10_000


class EventBuilder(ABC):
    """Builds the events for blocks. Subclasses are frozen dataclasses."""

    @abstractmethod
    def last_height(self, passed: int, final: int) -> int | None:
        """Return the height up to which to build events now; None if there is nothing to build yet.

        :param passed: Height of the last block whose events were built.
        :param final: Height of the last final block.
        """

    @abstractmethod
    def events(self, source: ChainSource, headers: Sequence[BlockHeader]) -> Flow[list[EventPayload]]:
        """Build the events for blocks, in chain order. Each has a ``last`` or a ``height``.

        :param source: Reads the chain.
        :param headers: The blocks, each the parent of the next.
        """


@dataclass(frozen=True, slots=True)
class BlockEventBuilder(EventBuilder):
    """Builds events for ranges of blocks. Create it with :meth:`of`.

    :param every: Events end at multiples of this height.
    :param max_range: Maximum number of blocks in one event, at least ``every``.
    """

    every: int
    max_range: int

    @classmethod
    def of(cls, every: int = 1, max_range: int | None = None) -> BlockEventBuilder:
        """Create one from the arguments of triggers; by default a range has at most 100 blocks.

        :raises BloqConfigurationError: An argument is invalid.
        """
        require_whole_number("every", every, least=1, most=LONGEST_RANGE)
        if max_range is None:
            max_range = max(every, DEFAULT_RANGE)
        require_whole_number("max_range", max_range, least=every, most=LONGEST_RANGE)
        return cls(every, max_range)

    def last_height(self, passed: int, final: int) -> int | None:
        most = max(self.every, min(EVENTS_AT_ONCE * self._longest, HEADERS_AT_ONCE))
        last = min(final, passed + most) // self.every * self.every
        return last if last > passed else None

    def events(self, source: ChainSource, headers: Sequence[BlockHeader]) -> Flow[list[EventPayload]]:
        yield from ()
        by_range = groupby(headers, key=lambda header: (header.height - 1) // self._longest)
        return [_range_event(tuple(blocks)) for _, blocks in by_range]

    @property
    def _longest(self) -> int:
        # A multiple of ``every``, so that a range cut for its length ends at one too.
        return self.max_range // self.every * self.every


@dataclass(frozen=True, slots=True)
class LogEventBuilder(EventBuilder):
    """Builds events for the logs of contracts, block by block; EVM chains only.

    :param wanted: Which logs.
    """

    wanted: LogFilter

    def last_height(self, passed: int, final: int) -> int | None:
        return min(final, passed + HEADERS_AT_ONCE) if final > passed else None

    def events(self, source: ChainSource, headers: Sequence[BlockHeader]) -> Flow[list[EventPayload]]:
        return _block_events("logs", headers, (yield from source.logs(self.wanted, headers)))


@dataclass(frozen=True, slots=True)
class TransferEventBuilder(EventBuilder):
    """Builds events for transfers to or from addresses, block by block.

    :param wanted: Which transfers.
    :param at_once: Blocks searched at once; fewer by default if whole blocks have to be read.
    """

    wanted: TransferFilter
    at_once: int | None = None

    def last_height(self, passed: int, final: int) -> int | None:
        most = self.at_once or (BODIES_AT_ONCE if self.wanted.native else HEADERS_AT_ONCE)
        return min(final, passed + most) if final > passed else None

    def events(self, source: ChainSource, headers: Sequence[BlockHeader]) -> Flow[list[EventPayload]]:
        return _block_events("transfers", headers, (yield from source.transfers(self.wanted, headers)))


def first_batch(
    headers: Sequence[BlockHeader], events: Sequence[EventPayload]
) -> tuple[Sequence[BlockHeader], Sequence[EventPayload]]:
    """Return the first blocks and their events, limited to what may be sent at once.

    :param headers: The blocks.
    :param events: Their events, from :meth:`EventBuilder.events`.
    :return: Whole blocks with at most :data:`EVENTS_AT_ONCE` events, but at least one block that has events.
    """
    ends = [int(event["last"] if "last" in event else event["height"]) for event in events]
    if len(events) <= EVENTS_AT_ONCE:
        return headers, events
    whole = [end for end in ends[:EVENTS_AT_ONCE] if end < ends[EVENTS_AT_ONCE]]
    last = whole[-1] if whole else ends[0]
    first = [event for event, end in zip(events, ends, strict=True) if end <= last]
    return [header for header in headers if header.height <= last], first


def reorg_event(reorg: Reorg, replaced: str) -> EventPayload:
    """Return the event for a reorg of blocks whose events were already emitted.

    :param reorg: The reorg.
    :param replaced: Hash of the last replaced block.
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
