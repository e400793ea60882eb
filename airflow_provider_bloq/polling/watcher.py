"""Watchers: follow a chain's final blocks, build events from them, and keep a checkpoint of delivered events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, TypeVar, cast

from airflow_provider_bloq.chains.blocks import (
    BlockHeader,
    Finality,
    Head,
    read_final_by_confirmations,
    read_final_by_tag,
    read_head,
)
from airflow_provider_bloq.chains.conditions import RpcRead, SubjectTarget
from airflow_provider_bloq.chains.cursor import Advance, ChainCursor, Reorg, next_step
from airflow_provider_bloq.chains.event_builders import EventBuilder, EventPayload, first_batch, reorg_event
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
    "CheckpointStore",
    "FinalBlock",
    "FinalConnectBlock",
    "Watcher",
    "WatcherSettings",
]

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Blocks without events after which the checkpoint is written all the same. After a restart they are read again.
QUIET_BLOCKS = 32
#: Version of the checkpoint's JSON.
CHECKPOINT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ChainSnapshot:
    """What a poll of a chain returned.

    :param final: The last final block; None if there is none yet, or the chain has just changed.
    :param client: The client that polled, which also runs further flows.
    :param source: Reads blocks, and shares them with other watchers until the next poll.
    """

    final: BlockHeader | None
    client: RpcApi | ConnectApi
    source: ChainSource


@dataclass(frozen=True, slots=True)
class FinalBlock(SubjectTarget):
    """The last final block of a chain, polled as a :class:`ChainSnapshot`.

    :param finality: Which block is final.
    """

    finality: Finality

    def poll_function(self, rpc: RpcApi) -> RpcRead:
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

        def poll_once(family: ChainFamily, _: frozenset[Hashable]) -> Flow[ChainSnapshot]:
            final = yield from final_block(family)
            reads.renew()
            return ChainSnapshot(final, rpc, NodeSource(rpc, family, reads))

        return poll_once


@dataclass(frozen=True, slots=True)
class FinalConnectBlock(ConnectTarget, SupportsPush):
    """The last final block of a chain in Connect, polled as a :class:`ChainSnapshot`.

    :param finality: Which block is final, by confirmations.
    :param stream: Whether Connect's stream announces new blocks.
    """

    finality: Finality
    stream: bool

    def updates(self, hook: BloqAsyncHook) -> ChainUpdates | None:
        return hook.connect(self.chain, self.network).updates() if self.stream else None

    def poll_function(self, api: ConnectApi) -> PollFunction:
        reads = SharedReads()
        source = ConnectSource(api, reads)
        known: dict[str, BlockHeader] = {}

        def poll_once(_: frozenset[Hashable]) -> Flow[ChainSnapshot]:
            # The newest block that Connect has indexed: its node may have newer ones that it cannot serve yet.
            newest = yield from ConnectApi.last_block.flow(api)
            head = newest.synced_hash or newest.last_hash
            if head is None:
                raise BloqUnavailable("Connect gave a status without the newest block.")
            reads.renew()
            final = known.get(head)
            if final is None:
                final = yield from self._below(api, source, head)
                known.clear()
                # Connect may not serve its newest block yet, so the absence of a final one is not remembered.
                if final is not None:
                    known[head] = final
            return ChainSnapshot(final, api, source)

        return poll_once

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


@dataclass(frozen=True, slots=True)
class WatcherSettings:
    """What a watcher watches and reports.

    :param conn_id: Id of the connection.
    :param target: The chain and its finality, polled as a :class:`ChainSnapshot`.
    :param builder: Builds the events.
    :param start: Height of the first block to report; None for the first that becomes final once the watcher
        has started for the first time.
    :param interval: Seconds between two polls.
    """

    conn_id: str
    target: Target
    builder: EventBuilder
    start: int | None
    interval: float


class Watcher:
    """Follows a chain for one trigger. No failure ends it: it pauses and goes on.

    :param settings: What it watches.
    :param store: Where it keeps its checkpoint.
    :param sleep: Waits some seconds.
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
        self._written: Checkpoint | None = None
        self._failed_reads = 0

    async def batches(self) -> AsyncGenerator[Sequence[EventPayload], None]:
        """Yield events in batches. Asking for the next batch confirms that the previous one was delivered."""
        checkpoint = await self._until_done(self._store.read, "its checkpoint cannot be read")
        async with aclosing(self._snapshots()) as snapshots:
            async for snapshot in snapshots:
                if snapshot.final is None:
                    continue
                if checkpoint is None:
                    start = self._settings.start
                    cursor = ChainCursor.after(snapshot.final) if start is None else ChainCursor.before(start)
                    # Written at once, so that a restart misses nothing that becomes final from now on.
                    checkpoint = Checkpoint(cursor)
                    await self._write(checkpoint)
                while (batch := await self._next_batch(checkpoint, snapshot, snapshot.final)) is not None:
                    events, sent, after = batch
                    if events:
                        await self._write(sent)
                        yield events
                        await self._write(after)
                    elif after.cursor.height - self._written_height >= QUIET_BLOCKS:
                        await self._write(after)
                    checkpoint = after

    @property
    def _written_height(self) -> int:
        return self._written.cursor.height if self._written else -QUIET_BLOCKS

    async def _next_batch(
        self, checkpoint: Checkpoint, snapshot: ChainSnapshot, final: BlockHeader
    ) -> _Batch | None:
        try:
            if checkpoint.sent is not None:
                flow = self._resend(checkpoint, checkpoint.sent, snapshot, final)
            else:
                flow = self._advance(checkpoint.cursor, snapshot, final)
            batch = await cast("RunsAsync", snapshot.client).run(flow)
        except BloqReorg:
            log.info("The chain was reorganised while it was read. It is read again.")
            return None
        except Exception as error:
            self._failed_reads += 1
            await self._recover(error, self._failed_reads, "the chain cannot be read")
            return None
        self._failed_reads = 0
        return batch

    def _advance(
        self, cursor: ChainCursor, snapshot: ChainSnapshot, final: BlockHeader
    ) -> Flow[_Batch | None]:
        last = self._settings.builder.last_height(cursor.height, final.height)
        step = yield from next_step(snapshot.source.headers, cursor, final, last)
        match step:
            case Reorg(cursor=at_fork):
                event = _marked(reorg_event(step, cursor.hashes[-1]), redelivered=False)
                return [event], Checkpoint(cursor, at_fork, event), Checkpoint(at_fork)
            case Advance(headers=()):
                return (), Checkpoint(step.cursor), Checkpoint(step.cursor)
            case Advance(headers=headers):
                built = yield from self._settings.builder.events(snapshot.source, headers)
                covered, events = first_batch(headers, built)
                after = cursor.past(covered)
                batch = [_marked(event, redelivered=False) for event in events]
                return batch, Checkpoint(cursor, after), Checkpoint(after)
        return None

    def _resend(
        self, checkpoint: Checkpoint, sent: ChainCursor, snapshot: ChainSnapshot, final: BlockHeader
    ) -> Flow[_Batch | None]:
        """Send again what may not have been delivered before a restart."""
        after = Checkpoint(sent)
        if checkpoint.reorg is not None:
            return [_marked(checkpoint.reorg, redelivered=True)], checkpoint, after
        step = yield from next_step(
            snapshot.source.headers, checkpoint.cursor, final, min(sent.height, final.height)
        )
        if step is None:
            return None
        if not isinstance(step, Advance) or not _leads_to(step, sent):
            # These blocks were replaced. The next step from the cursor after them detects and reports the reorg.
            return (), after, after
        if step.cursor.height < sent.height:
            # The node does not have all of these blocks yet.
            return None
        events = yield from self._settings.builder.events(snapshot.source, step.headers)
        return [_marked(event, redelivered=True) for event in events], checkpoint, after

    async def _write(self, checkpoint: Checkpoint) -> None:
        await self._until_done(lambda: self._store.write(checkpoint), "its checkpoint cannot be written")
        self._written = checkpoint

    async def _snapshots(self) -> AsyncGenerator[ChainSnapshot, None]:
        settings = self._settings
        failures = 0
        while True:
            try:
                async with shared_polls().subscribe(
                    settings.conn_id, settings.target, interval=settings.interval
                ) as handle:
                    while True:
                        try:
                            snapshot = await handle.result()
                        except Exception as error:
                            if not is_transient(error):
                                raise
                            # The poll itself pauses.
                            log.warning("A watcher's poll failed: %s", error)
                            continue
                        failures = 0
                        yield snapshot
            except Exception as error:
                failures += 1
                await self._recover(error, failures, "the chain cannot be polled")

    async def _until_done(self, work: Callable[[], Awaitable[T]], problem: str) -> T:
        failures = 0
        while True:
            try:
                return await work()
            except Exception as error:
                failures += 1
                await self._recover(error, failures, problem)

    async def _recover(self, error: Exception, failures: int, problem: str) -> None:
        # Raising would not help: Airflow restarts a failed watcher at once, again and again.
        log.error("A watcher pauses because %s: %s", problem, error, exc_info=not is_transient(error))
        await self._sleep(pause_after(failures, error))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a watcher has come.

    :param cursor: The blocks whose events have all been delivered.
    :param sent: The cursor once the batch on its way is delivered; None if there is none.
    :param reorg: The event on its way if it reports a reorg. Others can be built again from the blocks between
        the two cursors.
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
        """Return it as JSON."""
        fields: dict[str, Any] = {"version": CHECKPOINT_VERSION, "cursor": self.cursor.to_json()}
        if self.sent is not None:
            fields["sent"] = self.sent.to_json()
        if self.reorg is not None:
            fields["reorg"] = self.reorg
        return fields


#: Events, the checkpoint while they are being delivered, and the one after that.
_Batch: TypeAlias = tuple[Sequence[EventPayload], Checkpoint, Checkpoint]


class _AssetState(Protocol):
    """Airflow's state store of one asset."""

    async def aget(self, key: str, default: Any = None) -> Any: ...

    async def aset(self, key: str, value: Any) -> None: ...


class CheckpointStore:
    """Keeps the checkpoint of one watcher in the asset state store (Airflow 3.3).

    Without a store the checkpoint is lost when the triggerer ends, and the watcher begins at its ``start`` again.

    :param store: The trigger's ``asset_state_store``; None if Airflow has none.
    :param key: Distinguishes this watcher from others of the same asset.
    """

    def __init__(self, store: Any, key: str) -> None:
        self._assets = _assets_in(store)
        self._key = key
        self._writes = 0

    async def read(self) -> Checkpoint | None:
        """Return the latest checkpoint; None if there is none."""
        found = [await asset.aget(self._key) for asset in self._assets]
        readable = [
            fields
            for fields in found
            if isinstance(fields, dict) and fields.get("version") == CHECKPOINT_VERSION
        ]
        if not readable:
            return None
        # They differ if the process ended between two writes, or an asset was added later.
        latest = max(readable, key=lambda fields: int(fields["writes"]))
        self._writes = int(latest["writes"])
        return Checkpoint.from_json(latest)

    async def write(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint."""
        fields = {**checkpoint.to_json(), "writes": self._writes + 1}
        for asset in self._assets:
            await asset.aset(self._key, fields)
        self._writes += 1


def _assets_in(store: Any) -> Sequence[_AssetState]:
    if store is None:
        log.warning(
            "Airflow has no asset state store: after a restart the watcher begins at its start again."
        )
        return ()
    # A trigger may watch for several assets. Airflow's accessor works without an asset's name only if there is
    # one, and has no public way to list them.
    by_asset = [*getattr(store, "_by_name", {}).values(), *getattr(store, "_by_uri", {}).values()]
    if len(by_asset) > 1:
        log.info("One watcher serves %d assets, and writes its checkpoint to each of them.", len(by_asset))
        return by_asset
    return (store,)


def _leads_to(step: Advance, sent: ChainCursor) -> bool:
    return bool(step.headers) and step.headers[-1].hash == sent.hash_at(step.cursor.height)


def _marked(event: EventPayload, *, redelivered: bool) -> EventPayload:
    return {**event, "redelivered": redelivered}
