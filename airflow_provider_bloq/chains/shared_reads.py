"""What one watcher has read of a chain, for all others that want the same after the same look at it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from airflow_provider_bloq.auth.flight import SingleFlight
from airflow_provider_bloq.auth.flow import Flow

__all__ = ["SharedReads"]

T = TypeVar("T")

#: Results that are kept. More only come about while many watchers catch up from different places.
_KEPT = 16


class SharedReads:
    """Lets each thing be read once between two looks at the chain."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, SingleFlight[Any]] = {}
        self._results: dict[Hashable, Any] = {}

    def renew(self) -> None:
        """Forget what was read: it is looked again.

        Also where the final block is still the same. What was read while the chain was reorganised may not
        belong to it.
        """
        self._flights = {}
        self._results = {}

    def once(self, key: Hashable, make: Callable[[], Flow[T]]) -> Flow[T]:
        """Return what was read by that key; if nothing was, read it, or wait for whoever does.

        :param key: What is read.
        :param make: Makes the flow that reads it.
        """
        results, flights = self._results, self._flights
        if key in results:
            known: T = results[key]
            return known
        read: T = yield from flights.setdefault(key, SingleFlight()).join(make)
        flights.pop(key, None)
        results[key] = read
        while len(results) > _KEPT:
            del results[next(iter(results))]
        return read
