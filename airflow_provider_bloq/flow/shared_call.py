"""One call at a time: callers that arrive while it runs wait for its result."""

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
    """How waiting for a shared call ended."""

    #: The call has a result or an error.
    DONE = "done"
    #: Its runner was cancelled, killed or left behind: another caller has to run it.
    ABANDONED = "abandoned"
    #: It runs in this very thread, which therefore cannot wait for it.
    WOULD_DEADLOCK = "would deadlock"


class SharedCall(Generic[T]):
    """One call: which thread or event loop runs it, and its result.

    The result is a ``concurrent.futures.Future``: a thread waits for it, a task awaits it.
    """

    def __init__(self) -> None:
        self.future: Future[T] = Future()
        self._thread = threading.get_ident()
        self._loop: AbstractEventLoop | None = None

    def runs_on(self, loop: AbstractEventLoop) -> None:
        """Note that a task of ``loop`` runs it, which continues if its caller is cancelled."""
        self._loop = loop

    @property
    def is_detached(self) -> bool:
        """Whether it continues without its caller."""
        return self._loop is not None

    @property
    def runs_in_this_thread(self) -> bool:
        """Whether it runs in this thread: as a task of its event loop, or below a signal handler on its stack, such
        as one that runs ``on_kill``.
        """
        return self._thread == threading.get_ident()

    @property
    def is_lost(self) -> bool:
        """Whether it is a task of an event loop that has stopped."""
        return self._loop is not None and not self._loop.is_running()

    @property
    def is_over(self) -> bool:
        """Whether it has ended or can no longer end."""
        return self.future.done() or self.is_lost

    def set_result(self, result: T) -> None:
        """End the call with its result."""
        # A caller that found it lost has abandoned it, but its loop may have been started again.
        with suppress(InvalidStateError):
            self.future.set_result(result)

    def set_error(self, error: BaseException) -> None:
        """End the call with an error that every waiting caller gets.

        One that only stopped its runner (a cancellation, a task timeout) leaves the call to another runner.
        """
        if not isinstance(error, Exception):
            self.abandon()
            return
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    def abandon(self) -> None:
        """End the call without a result, unless it has ended; a waiting caller runs it again."""
        self.future.cancel()


class SingleFlight(Generic[T]):
    """Lets one caller run a flow while other threads and tasks wait for its result."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget a call that is running. For a forked child, in which its runner does not exist."""
        # Reentrant: a signal handler may get here while its own thread holds the lock.
        self._lock = threading.RLock()
        self._call: SharedCall[T] | None = None

    @property
    def in_flight(self) -> bool:
        """Whether a call is running."""
        call = self._call
        return call is not None and not call.is_over

    def join(self, make: Callable[[], Flow[T]]) -> Flow[T]:
        """Run ``make()``, or wait for the call that is running.

        :param make: Returns the flow; called only if this caller has to run it.
        :return: What the flow returned. Every waiting caller raises a copy of its error.
        """
        while True:
            call, is_new = self._get_or_start()
            if is_new:
                return (yield from self._run(call, make()))
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
        # An error is not kept: its traceback would keep alive everything in its frames.
        call.future.add_done_callback(lambda _: self._clear(call))
        return call, True

    def _run(self, call: SharedCall[T], flow: Flow[T]) -> Flow[T]:
        try:
            result: T = yield RunShared(call, flow)
            return result
        finally:
            # Airflow raises its task timeouts from a signal, perhaps before a driver has started the call.
            if not call.is_detached:
                call.abandon()

    def _clear(self, call: SharedCall[T]) -> None:
        with self._lock:
            if self._call is call:
                self._call = None


def _own_copy(error: BaseException) -> BaseException:
    """Copy an error for one caller: if all raised the same object, each would add its frames to it."""
    try:
        own = copy.copy(error)
    except Exception:
        # Its class cannot be called with its args.
        own = error
    if type(own) is not type(error):
        own = error
    if own is not error:
        own.__cause__, own.__suppress_context__ = error.__cause__, error.__suppress_context__
    return own.with_traceback(None)
