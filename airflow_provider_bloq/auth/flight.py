"""One refresh at a time: who comes while it is under way waits for its result."""

from __future__ import annotations

import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from concurrent.futures import Future
from enum import Enum
from typing import Any, Generic, TypeVar

from airflow_provider_bloq.auth.flow import Flow, Follow, Lead

__all__ = ["Landing", "SingleFlight"]

T = TypeVar("T")


class Landing(Enum):
    """How waiting for another's flight ended, where it did not end in that flight's own error."""

    ARRIVED = "arrived"
    #: Its leader was cancelled or killed: somebody else has to lead.
    ABANDONED = "abandoned"
    #: Its leader runs on the event loop of this very thread, which therefore cannot wait for it.
    CANNOT_WAIT = "cannot wait"


class SingleFlight(Generic[T]):
    """Lets one caller run a flow while threads and event-loop tasks wait for what comes of it.

    The hand-over is a ``concurrent.futures.Future``: a thread waits on it, a task awaits it.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget a flight under way. For a forked child, where its leader does not exist."""
        self._lock = threading.Lock()
        self._future: Future[T] | None = None
        self._loop: AbstractEventLoop | None = None

    @property
    def in_air(self) -> bool:
        """Whether a flight is under way."""
        return self._future is not None

    def join(self, make: Callable[[], Flow[T]]) -> Flow[T]:
        """Lead a new flight of ``make()``, or wait for the one under way.

        :param make: Makes the flow; called only where this caller has to run it.
        :return: What the flow returned, whoever ran it; its error is raised in every waiter.
        """
        while True:
            with self._lock:
                ticket = self._future
                if ticket is None:
                    self._future = Future()
            if ticket is None:
                led: T = yield Lead(self, make())
                return led
            landing: Landing = yield Follow(self, ticket)
            if landing is Landing.ARRIVED:
                return ticket.result()
            if landing is Landing.CANNOT_WAIT:
                return (yield from make())

    def led_on(self, loop: AbstractEventLoop) -> None:
        """Note that the leader runs as a task of ``loop``."""
        self._loop = loop

    def is_led_on(self, loop: AbstractEventLoop | None) -> bool:
        """Tell whether the leader runs as a task of ``loop``."""
        return loop is not None and self._loop is loop

    def land(self, result: T) -> None:
        """End the flight with its result."""
        self._settle(lambda future: future.set_result(result))

    def crash(self, error: BaseException) -> None:
        """End the flight with the error that every waiter gets; one that stopped the leader only
        (a cancellation, a task timeout) leaves the flight to another leader.
        """
        if isinstance(error, Exception):
            self._settle(lambda future: future.set_exception(error))
        else:
            self._settle(lambda future: future.cancel())

    def _settle(self, how: Callable[[Future[T]], Any]) -> None:
        with self._lock:
            future, self._future, self._loop = self._future, None, None
        if future is not None:
            how(future)
