"""A watcher as the producer of an Airflow shared stream, which tells when its events have been stored (3.3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

if TYPE_CHECKING:
    from airflow_provider_bloq.chains.events import EventPayload
    from airflow_provider_bloq.triggers.chain_events import BloqEventTrigger

__all__ = [
    "EventBatch",
    "HandshakeBatch",
    "WatcherStream",
]


class EventBatch:
    """One batch of events on its way into Airflow's database.

    :param events: The events.
    """

    def __init__(self, events: Sequence[EventPayload] = ()) -> None:
        self.events = events
        self._arrived = asyncio.Event()

    def receive(self, trigger: BloqEventTrigger) -> None:
        """Take note of the trigger that fires the events."""

    async def arrival(self) -> None:
        """Wait until all of them are in the database."""
        await self._arrived.wait()

    def arrive(self) -> None:
        """Note that they are."""
        self._arrived.set()


class HandshakeBatch(EventBatch):
    """The first parcel, without events: by it the trigger makes itself known to its stream.

    Airflow makes the stream from the trigger's arguments; the store for its place only the trigger is given.
    """

    def __init__(self) -> None:
        super().__init__()
        self._trigger: asyncio.Future[BloqEventTrigger] = asyncio.get_running_loop().create_future()

    def receive(self, trigger: BloqEventTrigger) -> None:
        """See :meth:`Parcel.receive`."""
        if not self._trigger.done():
            self._trigger.set_result(trigger)

    async def trigger(self) -> BloqEventTrigger:
        """Return the trigger, as soon as it is known."""
        return await self._trigger


class WatcherStream(SharedStreamProducer):
    """Sends off one batch at a time, the next when Airflow has stored the one before."""

    async def open_stream(self) -> AsyncIterator[tuple[EventBatch, EventBatch]]:
        """Give the batches, each as raw event and as what :meth:`advance` will be given."""
        greeting = HandshakeBatch()
        yield greeting, greeting
        trigger = await greeting.trigger()
        async with aclosing(trigger.watcher().batches()) as batches:
            async for events in batches:
                parcel = EventBatch(events)
                yield parcel, parcel
                await parcel.arrival()

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Note what has been stored. What was not, Airflow has given up together with the trigger."""
        for parcel, outcome in batch:
            if outcome.is_clean:
                parcel.arrive()
