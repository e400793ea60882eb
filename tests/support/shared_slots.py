"""A store that a simulated fleet shares: real check-and-set semantics, and a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_bloq.auth.shared_token_provider import SharedStore
from airflow_provider_bloq.auth.shared_token_store import Record
from airflow_provider_bloq.exceptions import BloqVaultUnavailable
from airflow_provider_bloq.flow.effects import Flow, sleep

__all__ = ["FakeSlot", "FakeStore"]


@dataclass
class FakeStore:
    """Two slots behind one server, which can be down.

    :param clock: The server's clock, in seconds.
    :param latency: How long each access takes, in seconds.
    """

    clock: Callable[[], float]
    latency: float = 0.0
    is_down: bool = False
    token: FakeSlot = field(init=False)
    lease: FakeSlot = field(init=False)

    def __post_init__(self) -> None:
        self.token = FakeSlot(self, "the shared token")
        self.lease = FakeSlot(self, "the lease")

    @property
    def shared(self) -> SharedStore:
        return SharedStore(self.token, self.lease)


@dataclass
class FakeSlot:
    """Holds one record; counts who comes by."""

    store: FakeStore
    description: str
    version: int = 0
    fields: dict[str, Any] | None = None
    reads: int = 0
    #: Writes that were tried.
    tries: int = 0
    _written_at: float = 0.0

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.description,)

    def read(self) -> Flow[Record]:
        yield from self._travel()
        self.reads += 1
        fields = dict(self.fields) if self.fields is not None else None
        return Record(self.version, fields, self.store.clock() - self._written_at)

    def write(self, fields: Mapping[str, Any], *, after: int) -> Flow[int | None]:
        yield from self._travel()
        self.tries += 1
        return self.put(fields) if after == self.version else None

    def put(self, fields: Mapping[str, Any] | None, age: float = 0.0) -> int:
        """Write without a check, as an administrator does."""
        self.version += 1
        self.fields = dict(fields) if fields is not None else None
        self._written_at = self.store.clock() - age
        return self.version

    def forget(self) -> None:
        """Nothing is kept."""

    def _travel(self) -> Flow[None]:
        if self.store.latency:
            yield from sleep(self.store.latency)
        if self.store.is_down:
            raise BloqVaultUnavailable(f"{self.description} is out of reach")
