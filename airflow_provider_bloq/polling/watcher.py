"""What a watcher's look at a chain gives: the last final block, and the means to read on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

from airflow_provider_bloq.chains.blocks import (
    BlockHeader,
    Finality,
    Head,
    read_final_by_confirmations,
    read_final_by_tag,
    read_head,
)
from airflow_provider_bloq.chains.conditions import RpcRead, SubjectTarget
from airflow_provider_bloq.chains.cursor import Advance, ChainCursor, ReadHeaders, Reorg, next_step
from airflow_provider_bloq.chains.events import EventBuilder, EventPayload, first_batch, reorg_event
from airflow_provider_bloq.chains.queries import ChainFamily, SharedReads
from airflow_provider_bloq.chains.sources import ChainSource, NodeSource
from airflow_provider_bloq.connect.client import ConnectApi
from airflow_provider_bloq.connect.conditions import ConnectTarget
from airflow_provider_bloq.connect.source import ConnectSource, header_of
from airflow_provider_bloq.exceptions import BloqNotFound, BloqReorg, BloqUnavailable
from airflow_provider_bloq.flow.effects import Flow, RunsAsync
from airflow_provider_bloq.polling.conditions import PollFunction, Target
from airflow_provider_bloq.polling.poll import SupportsPush, is_transient, pause_after
from airflow_provider_bloq.polling.shared_polls import shared_polls
from airflow_provider_bloq.rpc.client import RpcApi

if TYPE_CHECKING:
    from airflow_provider_bloq.connect.stream import ChainUpdates
    from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook

__all__ = [
    "ChainSnapshot",
    "Checkpoint",
    "CheckpointStore",
    "FinalBlock",
    "FinalConnectBlock",
    "Watcher",
    "WatcherSettings",
]


@dataclass(frozen=True, slots=True)
class ChainSnapshot:
    """What a look gave, and how to read more of the chain.

    :param final: The last final block; None if there is none yet, or the chain has just changed.
    :param client: What told so, and runs the flows that read on.
    :param source: Reads more, or takes what another watcher has just read.
    """

    final: BlockHeader | None
    client: RpcApi | ConnectApi
    source: ChainSource

    @property
    def headers(self) -> ReadHeaders:
        """Reads headers."""
        return self.source.headers


@dataclass(frozen=True, slots=True)
class FinalBlock(SubjectTarget):
    """The last final block of a chain; seen as a :class:`Sight`.

    :param finality: Which block is final.
    """

    finality: Finality

    def looking_by(self, rpc: RpcApi) -> RpcRead:
        """See :meth:`SubjectTarget.looking_by`."""
        reads = SharedReads()
        known: list[tuple[Head, BlockHeader | None]] = []

        def final_block(family: ChainFamily) -> Flow[BlockHeader | None]:
            if self.finality.tag is not None:
                return (yield from read_final_by_tag(rpc, family, self.finality.tag))
            head = yield from read_head(rpc, family)
            if not known or known[0][0] != head:
                final = yield from read_final_by_confirmations(rpc, family, self.finality, head)
                known[:] = [(head, final)]
            return known[0][1]

        def look(family: ChainFamily, _: frozenset[Hashable]) -> Flow[ChainSnapshot]:
            final = yield from final_block(family)
            reads.renew()
            return ChainSnapshot(final, rpc, NodeSource(rpc, family, reads))

        return look


@dataclass(frozen=True, slots=True)
class FinalConnectBlock(ConnectTarget, SupportsPush):
    """The last final block of a chain; seen as a :class:`Sight`.

    :param finality: Which block is final, by confirmations.
    :param stream: Whether Connect's stream should announce new blocks.
    """

    finality: Finality
    stream: bool

    def news(self, hook: BloqAsyncHook) -> ChainUpdates | None:
        """See :meth:`Announced.news`."""
        return hook.connect(self.chain, self.network).updates() if self.stream else None

    def poll_function(self, api: ConnectApi) -> PollFunction:
        """See :meth:`ConnectTarget.poll_function`."""
        reads = SharedReads()
        source = ConnectSource(api, reads)
        known: dict[str, BlockHeader] = {}

        def look(_: frozenset[Hashable]) -> Flow[ChainSnapshot]:
            # What Connect has taken in, not what its node has: it can be asked about that only.
            newest = yield from ConnectApi.last_block.flow(api)
            head = newest.synced_hash or newest.last_hash
            if head is None:
                raise BloqUnavailable("Connect gave a status without the newest block.")
            reads.renew()
            final = known.get(head)
            if final is None:
                final = yield from self._below(api, source, head)
                known.clear()
                # That there is none may be since Connect does not know its own newest block yet: it is asked again.
                if final is not None:
                    known[head] = final
            return ChainSnapshot(final, api, source)

        return look

    def _below(self, api: ConnectApi, source: ConnectSource, head: str) -> Flow[BlockHeader | None]:
        try:
            newest = yield from ConnectApi.block.flow(api, head)
        except BloqNotFound:
            return None
        height = self.finality.height_below(newest.height)
        if height == newest.height:
            return header_of(newest)
        headers = (yield from source.headers(height, height)) if height >= 0 else []
        return headers[0] if headers else None


log = logging.getLogger(__name__)

#: The form in which it is stored. A later one can then be told from this.
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a watcher has come.

    :param cursor: The blocks of which all events have arrived in Airflow.
    :param sent: Where the cursor will be once the events have arrived that were sent off last; None if
        none are under way.
    :param reorg: The event that was sent off last, if it tells of a reorg. Any other can be told again from
        the blocks between the two cursors.
    """

    cursor: ChainCursor
    sent: ChainCursor | None = None
    reorg: EventPayload | None = None

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        sent = ChainCursor.from_json(fields["sent"]) if fields.get("sent") else None
        return cls(ChainCursor.from_json(fields["cursor"]), sent, fields.get("reorg"))

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON."""
        fields: dict[str, Any] = {"version": _VERSION, "cursor": self.cursor.to_json()}
        if self.sent is not None:
            fields["sent"] = self.sent.to_json()
        if self.reorg is not None:
            fields["reorg"] = self.reorg
        return fields


class Accessor(Protocol):
    """The asset state store of one asset."""

    async def aget(self, key: str, default: Any = None) -> Any:
        """Read a value."""

    async def aset(self, key: str, value: Any) -> None:
        """Write a value."""


class CheckpointStore:
    """Keeps the :class:`Place` of one watcher, in the asset state store where Airflow has one (since 3.3).

    Without one, the place is lost when the triggerer ends, and the watcher begins at its ``start`` again.

    :param store: What Airflow gave the trigger: the state stores of the assets that it watches for.
    :param key: The key that tells this watcher from others of the same asset.
    """

    def __init__(self, store: Any, key: str) -> None:
        self._accessors = _accessors_in(store)
        self._key = key
        self._writes = 0

    async def read(self) -> Checkpoint | None:
        """Return the place that was kept last; None if there is none."""
        kept = [await accessor.aget(self._key) for accessor in self._accessors]
        written = [
            fields for fields in kept if isinstance(fields, dict) and fields.get("version") == _VERSION
        ]
        if not written:
            return None
        # They differ where the process ended between two writes, or an asset came later.
        latest = max(written, key=lambda fields: int(fields["writes"]))
        self._writes = int(latest["writes"])
        return Checkpoint.from_json(latest)

    async def write(self, place: Checkpoint) -> None:
        """Keep the place."""
        fields = {**place.to_json(), "writes": self._writes + 1}
        for accessor in self._accessors:
            await accessor.aset(self._key, fields)
        self._writes += 1


def _accessors_in(store: Any) -> Sequence[Accessor]:
    if store is None:
        log.warning(
            "Airflow gave no asset state store: after a restart the watcher begins at its start again."
        )
        return ()
    # One trigger may watch for several assets. Airflow's own class can be used without naming one only where
    # it is a single one, and does not tell their names.
    by_asset = [*getattr(store, "_by_name", {}).values(), *getattr(store, "_by_uri", {}).values()]
    if len(by_asset) > 1:
        log.info("One watcher serves %d assets, and keeps its place with each of them.", len(by_asset))
        return by_asset
    return (store,)


T = TypeVar("T")

#: Blocks without an event after which the place is kept all the same. So many are read again after a restart.
QUIET_BLOCKS = 32


@dataclass(frozen=True, slots=True)
class WatcherSettings:
    """What a watcher watches, and tells of it.

    :param conn_id: Id of the connection.
    :param target: The chain, and which of its blocks is final; seen as a :class:`Sight`.
    :param telling: What is told of the blocks.
    :param start: Height of the first block to tell of; None for the first that becomes final after the
        watcher was started for the first time.
    :param interval: Seconds between two looks.
    """

    conn_id: str
    target: Target
    telling: EventBuilder
    start: int | None
    interval: float


class Watcher:
    """Follows a chain for one trigger. No failure ends it: there is a pause, and then it goes on.

    :param settings: What it watches.
    :param store: Where it keeps its place.
    :param sleep: Lets seconds pass.
    """

    def __init__(
        self,
        settings: WatcherSettings,
        store: CheckpointStore,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._store = store
        self._sleep = sleep
        self._kept: Checkpoint | None = None
        self._failed_readings = 0

    async def batches(self) -> AsyncGenerator[Sequence[EventPayload], None]:
        """Give the events, in batches. To ask for the next batch says that the one before has arrived."""
        place = await self._until_done(self._store.read, "its place cannot be read")
        async with aclosing(self._sights()) as sights:
            async for sight in sights:
                if sight.final is None:
                    continue
                if place is None:
                    start = self._settings.start
                    cursor = ChainCursor.after(sight.final) if start is None else ChainCursor.before(start)
                    # At once: what becomes final from now on must not be missed, whatever happens.
                    place = Checkpoint(cursor)
                    await self._keep(place)
                while (batch := await self._batch(place, sight, sight.final)) is not None:
                    events, sent, after = batch
                    if events:
                        await self._keep(sent)
                        yield events
                        await self._keep(after)
                    elif after.cursor.height - self._kept_height >= QUIET_BLOCKS:
                        await self._keep(after)
                    place = after

    @property
    def _kept_height(self) -> int:
        return self._kept.cursor.height if self._kept else -QUIET_BLOCKS

    async def _batch(
        self, place: Checkpoint, sight: ChainSnapshot, final: BlockHeader
    ) -> tuple[Sequence[EventPayload], Checkpoint, Checkpoint] | None:
        """Find out what is to be sent next, the place while it is under way, and the one after it."""
        try:
            if place.sent is not None:
                flow = self._once_more(place, place.sent, sight, final)
            else:
                flow = self._next(place.cursor, sight, final)
            batch = await cast("RunsAsync", sight.client).run(flow)
        except BloqReorg:
            log.info("The chain was reorganised while it was read; it is looked at again.")
            return None
        except Exception as error:
            self._failed_readings += 1
            await self._recover(error, self._failed_readings, "the chain cannot be read")
            return None
        self._failed_readings = 0
        return batch

    def _next(
        self, cursor: ChainCursor, sight: ChainSnapshot, final: BlockHeader
    ) -> Flow[tuple[Sequence[EventPayload], Checkpoint, Checkpoint] | None]:
        last = self._settings.telling.last_height(cursor.height, final.height)
        step = yield from next_step(sight.headers, cursor, final, last)
        match step:
            case Reorg(cursor=at_fork):
                event = _first(reorg_event(step, cursor.hashes[-1]))
                return [event], Checkpoint(cursor, at_fork, event), Checkpoint(at_fork)
            case Advance(headers=()):
                return (), Checkpoint(step.cursor), Checkpoint(step.cursor)
            case Advance(headers=headers):
                told, events = first_batch(headers, (yield from self._told(sight, headers)))
                after = cursor.past(told)
                return [_first(event) for event in events], Checkpoint(cursor, after), Checkpoint(after)
        return None

    def _once_more(
        self, place: Checkpoint, sent: ChainCursor, sight: ChainSnapshot, final: BlockHeader
    ) -> Flow[tuple[Sequence[EventPayload], Checkpoint, Checkpoint] | None]:
        """Send again what may or may not have arrived before a restart."""
        after = Checkpoint(sent)
        if place.reorg is not None:
            return [_again(place.reorg)], place, after
        step = yield from next_step(sight.headers, place.cursor, final, min(sent.height, final.height))
        if step is None:
            return None
        if not isinstance(step, Advance) or not _is_along(step, sent):
            # These blocks are gone. The cursor that knows them will find it out, and tell whoever was told.
            return (), after, after
        if step.cursor.height < sent.height:
            # The node has not all of these blocks yet.
            return None
        events = yield from self._told(sight, step.headers)
        return [_again(event) for event in events], place, after

    def _told(self, sight: ChainSnapshot, headers: Sequence[BlockHeader]) -> Flow[list[EventPayload]]:
        return self._settings.telling.events(sight.source, headers)

    async def _keep(self, place: Checkpoint) -> None:
        await self._until_done(lambda: self._store.write(place), "its place cannot be kept")
        self._kept = place

    async def _sights(self) -> AsyncGenerator[ChainSnapshot, None]:
        failures = 0
        while True:
            try:
                async with shared_polls().watch(
                    self._settings.conn_id, self._settings.target, interval=self._settings.interval
                ) as watch:
                    while True:
                        try:
                            sight = await watch.look()
                        except Exception as error:
                            if not is_transient(error):
                                raise
                            # The poll itself pauses before the next look.
                            log.warning("A watcher's look at the chain failed: %s", error)
                            continue
                        failures = 0
                        yield sight
            except Exception as error:
                failures += 1
                await self._recover(error, failures, "the chain cannot be looked at")

    async def _until_done(self, work: Callable[[], Awaitable[T]], what: str) -> T:
        failures = 0
        while True:
            try:
                return await work()
            except Exception as error:
                failures += 1
                await self._recover(error, failures, what)

    async def _recover(self, error: Exception, failures: int, what: str) -> None:
        # To raise would help nobody: Airflow starts a watcher anew at once, again and again.
        log.error("A watcher has to wait, since %s: %s", what, error, exc_info=not is_transient(error))
        await self._sleep(pause_after(failures, error))


def _is_along(step: Advance, sent: ChainCursor) -> bool:
    return bool(step.headers) and step.headers[-1].hash == sent.hash_at(step.cursor.height)


def _first(event: EventPayload) -> EventPayload:
    return {**event, "redelivered": False}


def _again(event: dict[str, Any]) -> EventPayload:
    return {**event, "redelivered": True}
