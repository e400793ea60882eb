"""A watcher as the producer of an Airflow shared stream (3.3), which reports when its events have been stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

if TYPE_CHECKING:
    from airflow_provider_bloq.chains.event_builders import EventPayload
    from airflow_provider_bloq.triggers.chain_events import BloqEventTrigger

__all__ = ["WatcherStream"]


class EventBatch:
    """A batch of events on its way to Airflow's database."""

    def __init__(self, events: Sequence[EventPayload] = ()) -> None:
        self.events = events
        #: Set when Airflow has stored all of them.
        self.stored = asyncio.Event()

    def receive(self, trigger: BloqEventTrigger) -> None:
        """Called by the trigger that fires the events."""


class HandshakeBatch(EventBatch):
    """The first batch, without events; it passes the trigger to the stream.

    Airflow makes the stream from the trigger's arguments, but passes the state store to the trigger only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trigger: asyncio.Future[BloqEventTrigger] = asyncio.get_running_loop().create_future()

    def receive(self, trigger: BloqEventTrigger) -> None:
        if not self.trigger.done():
            self.trigger.set_result(trigger)


class WatcherStream(SharedStreamProducer):
    """Sends one batch at a time, the next when Airflow has stored the previous one."""

    async def open_stream(self) -> AsyncIterator[tuple[EventBatch, EventBatch]]:
        """Yield each batch twice: as the event, and for :meth:`advance`."""
        handshake = HandshakeBatch()
        yield handshake, handshake
        watcher = await (await handshake.trigger).watcher()
        async with aclosing(watcher.batches()) as batches:
            async for events in batches:
                batch = EventBatch(events)
                yield batch, batch
                await batch.stored.wait()

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Mark the batches that are stored. Airflow ends the trigger of a batch that it cannot store."""
        for sent, outcome in batch:
            if outcome.is_clean:
                sent.stored.set()
