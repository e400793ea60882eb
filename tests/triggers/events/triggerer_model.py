"""The part of Airflow's triggerer that event triggers live in, with its steps in the hands of a test.

The streams, the state store accessors and the order of things are Airflow's own. In place of the supervisor and its
database stand two lists, so that the process can "die" between any two steps.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from airflow.sdk import Asset
from airflow.sdk.execution_time.comms import (
    AssetStateStoreResult,
    ErrorResponse,
    GetAssetStateStoreByName,
    SetAssetStateStoreByName,
)
from airflow.sdk.execution_time.context import AssetStateStoreAccessors
from airflow.triggers.base import BaseEventTrigger
from airflow.triggers.shared_stream import SharedStreamManager

__all__ = ["Database", "TriggererModel"]

#: No test waits this long; it only keeps one that fails from hanging.
LONGEST = 60.0


class Database:
    """What outlives a triggerer: the events of triggers, and the state of assets."""

    def __init__(self) -> None:
        self.events: list[tuple[int, dict[str, Any]]] = []
        self.state: dict[tuple[str, str], str] = {}
        self.writes = 0
        self.changed = asyncio.Event()

    def of(self, trigger_id: int) -> list[dict[str, Any]]:
        return [event for owner, event in self.events if owner == trigger_id]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONGEST):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def note(self) -> None:
        self.changed.set()


class TriggererModel:
    """One life of a triggerer. It stands in the place of the supervisor of the Task SDK while it lives.

    :param database: What it leaves behind.
    :param ack_timeout: Seconds after which it gives up a trigger whose events it cannot store.
    """

    def __init__(self, database: Database, ack_timeout: float = 300.0) -> None:
        self.database = database
        self.streams = SharedStreamManager(ack_timeout=ack_timeout)
        #: Events that were fired and are not in the database yet.
        self.fired: deque[tuple[int, dict[str, Any], int | None]] = deque()
        #: Events in the database of which the triggers were not told yet.
        self.stored: deque[int] = deque()
        self.stores = True
        self.confirms = True
        #: Id of a trigger whose events are not stored.
        self.holds_up: int | None = None
        #: Whether writes to the state store go through, by the number of the write in this life.
        self.writes_until: int | None = None
        #: Whether the state store can be used at all.
        self.store_works = True
        #: Writes that did not go through.
        self.blocked_writes = 0
        #: Messages that the state store, out of order, has refused.
        self.refused = 0
        self._writes = 0
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._alive = True

    def start(self, trigger_id: int, trigger: BaseEventTrigger, *assets: str) -> None:
        kwargs = json.loads(json.dumps(trigger.serialize()[1]))
        anew = type(trigger)(**kwargs)
        anew.trigger_id = trigger_id
        inlets = [Asset(name=name, uri=f"x-test://{name}") for name in assets or ("chain",)]
        anew.asset_state_store = AssetStateStoreAccessors(inlets=inlets)
        self._tasks[trigger_id] = asyncio.create_task(self._run(trigger_id, anew))

    async def stop(self, trigger_id: int) -> None:
        task = self._tasks.pop(trigger_id)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    async def failure(self, trigger_id: int) -> BaseException | None:
        """Wait until a trigger has ended, and return by what error."""
        task = self._tasks.pop(trigger_id)
        await asyncio.wait([task], timeout=LONGEST)
        return task.exception()

    async def kill(self) -> None:
        """End at once: what is not in the database is gone."""
        self._alive = False
        for trigger_id in list(self._tasks):
            await self.stop(trigger_id)
        await self.streams.stop_all()

    def advance(self) -> None:
        """Store what was fired, and tell of it, as far as the test lets it."""
        while self.stores and (ready := [fired for fired in self.fired if fired[0] != self.holds_up]):
            trigger_id, payload, number = ready[0]
            self.fired.remove(ready[0])
            self.database.events.append((trigger_id, json.loads(json.dumps(payload))))
            if number is not None:
                self.stored.append(number)
        while self.confirms and self.stored:
            self.streams.confirm_persisted([self.stored.popleft()])
        self.database.note()

    async def asend(self, message: Any) -> Any:
        """Answer as the supervisor does."""
        await asyncio.sleep(0)
        if not self.store_works:
            self.refused += 1
            self.database.note()
            raise ConnectionError("the API server does not answer")
        if isinstance(message, GetAssetStateStoreByName):
            value = self.database.state.get((message.name, message.key))
            if value is None:
                return ErrorResponse(error="ASSET_STORE_NOT_FOUND")  # type: ignore[arg-type]
            return AssetStateStoreResult(value=json.loads(value))
        if isinstance(message, SetAssetStateStoreByName):
            if not self._alive or self._writes == self.writes_until:
                # Nothing that a dying process still says arrives.
                self.blocked_writes += 1
                self.database.note()
                await asyncio.get_running_loop().create_future()
            self._writes += 1
            self.database.writes += 1
            self.database.state[message.name, message.key] = json.dumps(message.value)
            self.database.note()
        return None

    async def _run(self, trigger_id: int, trigger: BaseEventTrigger) -> None:
        key = trigger.shared_stream_key()
        assert key is not None
        stream = self.streams.subscribe(trigger_id=trigger_id, trigger=trigger, key=key)
        try:
            async for event in trigger.filter_shared_stream(stream):
                number = self.streams.bind_pending_event(trigger_id=trigger_id, key=key)
                self.fired.append((trigger_id, event.payload, number))
                self.advance()
        finally:
            await self.streams.unsubscribe(trigger_id, key)
            await trigger.cleanup()
