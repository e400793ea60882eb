"""One refresh at a time: who comes while it is under way waits for its result."""

from __future__ import annotations

import copy
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from enum import Enum
from typing import Generic, TypeVar

from airflow_provider_bloq.flow.effects import AwaitShared, Flow, RunShared

__all__ = [
    "SharedCall",
    "SharedOutcome",
    "SingleFlight",
]


T = TypeVar("T")


class SharedOutcome(Enum):
    """How waiting for another's flight ended, where it did not end in that flight's own error."""

    DONE = "done"
    #: Its leader was cancelled, killed or left behind: somebody else has to lead.
    ABANDONED = "abandoned"
    #: Its leader runs in this very thread, which therefore cannot wait for it.
    WOULD_DEADLOCK = "would deadlock"


class SharedCall(Generic[T]):
    """One flight: who leads it, and what comes of it.

    The hand-over is a ``concurrent.futures.Future``: a thread waits on it, a task awaits it.
    """

    def __init__(self) -> None:
        self.future: Future[T] = Future()
        self._thread = threading.get_ident()
        self._loop: AbstractEventLoop | None = None

    def runs_on(self, loop: AbstractEventLoop) -> None:
        """Note that the leader is a task of ``loop``, which goes on when its caller is cancelled."""
        self._loop = loop

    @property
    def is_detached(self) -> bool:
        """Whether the leader needs its caller no more."""
        return self._loop is not None

    @property
    def runs_in_this_thread(self) -> bool:
        """Whether the leader runs in this thread: as a task of its event loop, or below on the stack of
        a signal handler, such as one that runs ``on_kill``.
        """
        return self._thread == threading.get_ident()

    @property
    def is_lost(self) -> bool:
        """Whether the leader is a task of an event loop that has stopped."""
        return self._loop is not None and not self._loop.is_running()

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come of this flight."""
        return self.future.done() or self.is_lost

    def set_result(self, result: T) -> None:
        """End the flight with its result."""
        # Whoever found it lost has abandoned it; a loop that is started again may land all the same.
        with suppress(InvalidStateError):
            self.future.set_result(result)

    def set_error(self, error: BaseException) -> None:
        """End the flight with the error that every waiter gets; one that stopped the leader only
        (a cancellation, a task timeout) leaves the flight to another leader.
        """
        if not isinstance(error, Exception):
            self.abandon()
            return
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    def abandon(self) -> None:
        """End the flight without result, unless it has ended; who waits for it leads another one."""
        self.future.cancel()


class SingleFlight(Generic[T]):
    """Lets one caller run a flow while threads and event-loop tasks wait for what comes of it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget a flight under way. For a forked child, where its leader does not exist."""
        # Reentrant: a signal handler may come by here while its own thread holds the lock.
        self._lock = threading.RLock()
        self._call: SharedCall[T] | None = None

    @property
    def in_flight(self) -> bool:
        """Whether a flight is under way."""
        call = self._call
        return call is not None and not call.is_over

    def join(self, make: Callable[[], Flow[T]]) -> Flow[T]:
        """Lead a new flight of ``make()``, or wait for the one under way.

        :param make: Makes the flow; called only where this caller has to run it.
        :return: What the flow returned, whoever ran it; every waiter raises a copy of its error.
        """
        while True:
            call, is_leader = self._get_or_start()
            if is_leader:
                return (yield from self._run_shared(call, make()))
            outcome: SharedOutcome = yield AwaitShared(call)
            if outcome is SharedOutcome.DONE:
                error = call.future.exception()
                if error is not None:
                    raise _own_copy(error)
                return call.future.result()
            if outcome is SharedOutcome.WOULD_DEADLOCK:
                return (yield from make())

    def _get_or_start(self) -> tuple[SharedCall[T], bool]:
        with self._lock:
            call = self._call
            if call is not None and not call.is_over:
                return call, False
            call = self._call = SharedCall()
        # An error is not kept: its traceback would hold on to all that its frames know.
        call.future.add_done_callback(lambda _: self._clear(call))
        return call, True

    def _run_shared(self, call: SharedCall[T], flow: Flow[T]) -> Flow[T]:
        try:
            result: T = yield RunShared(call, flow)
            return result
        finally:
            # Airflow raises its task timeouts from a signal, also before a driver took the flight up.
            if not call.is_detached:
                call.abandon()

    def _clear(self, call: SharedCall[T]) -> None:
        with self._lock:
            if self._call is call:
                self._call = None


def _own_copy(error: BaseException) -> BaseException:
    """Copy an error for one waiter: of one that all raise, each would add its frames to those of the others."""
    try:
        own = copy.copy(error)
    except Exception:
        # One whose class cannot be called with its args.
        own = error
    if type(own) is not type(error):
        own = error
    if own is not error:
        own.__cause__, own.__suppress_context__ = error.__cause__, error.__suppress_context__
    return own.with_traceback(None)
