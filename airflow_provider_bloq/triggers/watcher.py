"""The life of a watcher: it looks at the chain, tells what is new, and remembers how far it has come.

It is written as one straight line. What makes it hold across restarts is the order of the three steps for
each batch of events: keep what is about to be sent, send it, and keep that it has arrived.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.following import Advance, Cursor, Reorg, next_step
from airflow_provider_bloq.chains.headers import Header
from airflow_provider_bloq.chains.tellings import Event, Telling, reorg_event, to_tell_at_once
from airflow_provider_bloq.clients.operation import RunsAsync
from airflow_provider_bloq.conditions.condition import Target
from airflow_provider_bloq.exceptions import BloqReorg
from airflow_provider_bloq.triggers.cursor_store import CursorStore, Place
from airflow_provider_bloq.triggers.pauses import may_pass, pause_after
from airflow_provider_bloq.triggers.polls import shared_polls
from airflow_provider_bloq.triggers.sight import Sight

__all__ = ["Watcher", "WatcherSettings"]

log = logging.getLogger(__name__)

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
    telling: Telling
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
        store: CursorStore,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._store = store
        self._sleep = sleep
        self._kept: Place | None = None
        self._failed_readings = 0

    async def batches(self) -> AsyncGenerator[Sequence[Event], None]:
        """Give the events, in batches. To ask for the next batch says that the one before has arrived."""
        place = await self._until_done(self._store.read, "its place cannot be read")
        async with aclosing(self._sights()) as sights:
            async for sight in sights:
                if sight.final is None:
                    continue
                if place is None:
                    start = self._settings.start
                    cursor = Cursor.after(sight.final) if start is None else Cursor.before(start)
                    # At once: what becomes final from now on must not be missed, whatever happens.
                    place = Place(cursor)
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
        self, place: Place, sight: Sight, final: Header
    ) -> tuple[Sequence[Event], Place, Place] | None:
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
        self, cursor: Cursor, sight: Sight, final: Header
    ) -> Flow[tuple[Sequence[Event], Place, Place] | None]:
        last = self._settings.telling.last_height(cursor.height, final.height)
        step = yield from next_step(sight.headers, cursor, final, last)
        match step:
            case Reorg(cursor=at_fork):
                event = _first(reorg_event(step, cursor.hashes[-1]))
                return [event], Place(cursor, at_fork, event), Place(at_fork)
            case Advance(headers=()):
                return (), Place(step.cursor), Place(step.cursor)
            case Advance(headers=headers):
                told, events = to_tell_at_once(headers, (yield from self._told(sight, headers)))
                after = cursor.past(told)
                return [_first(event) for event in events], Place(cursor, after), Place(after)
        return None

    def _once_more(
        self, place: Place, sent: Cursor, sight: Sight, final: Header
    ) -> Flow[tuple[Sequence[Event], Place, Place] | None]:
        """Send again what may or may not have arrived before a restart."""
        after = Place(sent)
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

    def _told(self, sight: Sight, headers: Sequence[Header]) -> Flow[list[Event]]:
        return self._settings.telling.events(sight.source, headers)

    async def _keep(self, place: Place) -> None:
        await self._until_done(lambda: self._store.write(place), "its place cannot be kept")
        self._kept = place

    async def _sights(self) -> AsyncGenerator[Sight, None]:
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
                            if not may_pass(error):
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
        log.error("A watcher has to wait, since %s: %s", what, error, exc_info=not may_pass(error))
        await self._sleep(pause_after(failures, error))


def _is_along(step: Advance, sent: Cursor) -> bool:
    return bool(step.headers) and step.headers[-1].hash == sent.hash_at(step.cursor.height)


def _first(event: Event) -> Event:
    return {**event, "redelivered": False}


def _again(event: dict[str, Any]) -> Event:
    return {**event, "redelivered": True}
