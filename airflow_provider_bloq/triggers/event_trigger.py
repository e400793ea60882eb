"""What the event triggers on chains have in common: how their events reach Airflow, each once."""

from __future__ import annotations

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import AsyncIterator, Hashable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_bloq.chains.finality import Finality
from airflow_provider_bloq.clients.limits import require_whole_number
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.triggers.cursor_store import CursorStore
from airflow_provider_bloq.triggers.watcher import Watcher, WatcherSettings

if TYPE_CHECKING:
    from airflow.triggers.shared_stream import SharedStreamProducer

    from airflow_provider_bloq.chains.tellings import Telling
    from airflow_provider_bloq.conditions.condition import Target

__all__ = ["LATEST", "BloqEventTrigger"]

#: Begin with what becomes final from now on.
LATEST = "latest"
#: Shorter is a flood of requests, longer hides that a watcher runs at all.
SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.1, 3600.0
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: Arguments that say how it is watched, not what: to change one of them leaves the watcher in its place.
_MANNERS = frozenset(
    {
        "bloq_conn_id",
        "family",
        "max_range",
        "path",
        "poll_interval",
        "port",
        "start",
        "stream",
        "tls_fingerprint",
    }
)


class BloqEventTrigger(BaseEventTrigger):
    """Follows a chain and fires on what its final blocks hold; see the subclasses for the events.

    **What holds.** Nothing is missed: each watcher keeps its place in the state store of its asset, and moves it
    only after Airflow has stored its events. Nothing is fired twice while the triggerer runs. If the triggerer ends
    between storing an event and keeping the place, a second or two, the events of that last batch are fired
    again with the same ``id`` and the same content, marked ``"redelivered": true``. Airflow stores events and places
    apart, and cannot be asked whether an event has arrived, so that this cannot be ruled out. (The content is
    another only if arguments of the trigger were changed meanwhile.)

    **Reorgs.** One among blocks that are not final yet goes unnoticed. One that replaces blocks which were told of
    fires ``{"event": "reorg", "first": …, "last": …, "complete": …}`` with the range of their heights, and then
    the new blocks follow. It is found up to 64 blocks below the last one; for a deeper one ``complete`` is
    false, which means that blocks below ``first`` may have been replaced as well.

    **Sharing.** In one triggerer all watchers of the same chain share one look per interval, and what is read of
    the same blocks. Each has an Airflow stream of its own: Airflow reports of a stream how many of its triggers
    have stored an event, but not which, and would hold each up until all have. So a watcher that is added later,
    or has fallen behind, catches up by itself, in batches.

    **Failures.** No failure of the node, of Bloq or of Airflow ends a watcher; it logs the failure, pauses, and goes
    on where it was.

    Airflow 3.1 and 3.2 have no state store for assets and do not tell when an event is stored: there the place is
    kept in memory alone, and after a restart of the triggerer the watcher begins at its ``start`` again.

    :param finality: Which blocks are final.
    :param bloq_conn_id: Id of the connection.
    :param start: Height of the first block to tell of when the watcher is new; ``latest`` for the first that
        becomes final from then on.
    :param poll_interval: Seconds between two looks.
    :param label: Name under which it keeps its place. Give one to go on from the same place with other arguments.
        Watchers of one asset need different ones.
    :raises BloqConfigurationError: One of the arguments cannot be used.
    """

    #: Stands in the key of the place.
    kind: ClassVar[str]

    def __init__(
        self,
        *,
        finality: Finality,
        bloq_conn_id: str = "bloq_default",
        start: int | str = LATEST,
        poll_interval: float = 10.0,
        label: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bloq_conn_id = bloq_conn_id
        self.finality = finality
        if start != LATEST:
            require_whole_number("start", start, least=0)
        self.start = start
        self.poll_interval = _interval(poll_interval)
        if label is not None and not _LABEL.fullmatch(label):
            raise BloqConfigurationError.of(
                "label", f"{label!r} cannot be used", "Use up to 100 letters, digits, '.', '_' and '-'."
            )
        self.label = label

    @property
    @abstractmethod
    def target(self) -> Target:
        """What is looked at; seen as a :class:`~airflow_provider_bloq.triggers.sight.Sight`."""

    @property
    @abstractmethod
    def telling(self) -> Telling:
        """What is told of the blocks."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments by which the triggerer makes it anew."""
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {
            "bloq_conn_id": self.bloq_conn_id,
            "confirmations": self.finality.confirmations,
            "start": self.start,
            "poll_interval": self.poll_interval,
            "label": self.label,
        }

    @property
    def place_key(self) -> str:
        """The key under which it keeps its place, in the state store of each of its assets."""
        what = {name: value for name, value in self.serialize()[1].items() if name not in _MANNERS}
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        return f"bloq-{self.kind}-{self.label or digest[:16]}"

    def watcher(self) -> Watcher:
        """Make what follows the chain for this trigger."""
        settings = WatcherSettings(
            self.bloq_conn_id,
            self.target,
            self.telling,
            None if isinstance(self.start, str) else self.start,
            self.poll_interval,
        )
        # Airflow before 3.3 knows no such attribute.
        return Watcher(settings, CursorStore(getattr(self, "asset_state_store", None), self.place_key))

    def shared_stream_key(self) -> Hashable | None:
        """Return the key of its stream: one of its own, in which Airflow tells when events are stored."""
        return (*self.serialize()[:1], json.dumps(self.serialize()[1], sort_keys=True), self.trigger_id)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Make the stream; its trigger makes itself known to it."""
        from airflow_provider_bloq.triggers.watcher_stream import WatcherStream

        return WatcherStream()

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Fire the events of each batch that the stream gives."""
        async for parcel in shared_stream:
            parcel.receive(self)
            for event in parcel.events:
                yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire the events where Airflow has no shared streams (before 3.3)."""
        async with aclosing(self.watcher().batches()) as batches:
            async for events in batches:
                for event in events:
                    yield TriggerEvent(event)  # type: ignore[no-untyped-call]


def _interval(seconds: float) -> float:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not SHORTEST_INTERVAL <= seconds <= LONGEST_INTERVAL:
        raise BloqConfigurationError.of(
            "poll_interval",
            f"{seconds!r} does not fit",
            f"Use a number of seconds from {SHORTEST_INTERVAL:g} to {LONGEST_INTERVAL:g}.",
        )
    return float(seconds)
