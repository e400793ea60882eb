"""Where a watcher keeps how far it has come, so that it goes on from there after a restart."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from airflow_provider_bloq.chains.following import Cursor

if TYPE_CHECKING:
    from airflow_provider_bloq.chains.tellings import Event

__all__ = ["CursorStore", "Place"]

log = logging.getLogger(__name__)

#: The form in which it is stored. A later one can then be told from this.
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Place:
    """How far a watcher has come.

    :param cursor: The blocks of which all events have arrived in Airflow.
    :param sent: Where the cursor will be once the events have arrived that were sent off last; None if
        none are under way.
    :param reorg: The event that was sent off last, if it tells of a reorg. Any other can be told again from
        the blocks between the two cursors.
    """

    cursor: Cursor
    sent: Cursor | None = None
    reorg: Event | None = None

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        sent = Cursor.from_json(fields["sent"]) if fields.get("sent") else None
        return cls(Cursor.from_json(fields["cursor"]), sent, fields.get("reorg"))

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


class CursorStore:
    """Keeps the :class:`Place` of one watcher, in the asset state store where Airflow has one (since 3.3).

    Without one, the place is lost when the triggerer ends, and the watcher begins at its ``start`` again.

    :param store: What Airflow gave the trigger: the state stores of the assets that it watches for.
    :param key: The key that tells this watcher from others of the same asset.
    """

    def __init__(self, store: Any, key: str) -> None:
        self._accessors = _accessors_in(store)
        self._key = key
        self._writes = 0

    async def read(self) -> Place | None:
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
        return Place.from_json(latest)

    async def write(self, place: Place) -> None:
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
