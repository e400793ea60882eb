"""Effects: what logic without I/O asks of its driver, and what flows are made of.

A flow is a generator that yields effects and receives their results. The drivers in :mod:`.sync_driver` and
:mod:`.async_driver` perform the effects. A :class:`SharedCall` is a flow that one caller runs while others wait.
"""

from __future__ import annotations

import copy
import functools
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    overload,
)
from urllib.parse import quote

from airflow_provider_bloq.auth.credentials import REDACTED
from airflow_provider_bloq.flow.events import Event

if TYPE_CHECKING:
    from airflow_provider_bloq.auth.credentials import KeyReading, KeySource, Secret

__all__ = [
    "AsyncRunner",
    "AwaitShared",
    "BlockingRunner",
    "Effect",
    "Emit",
    "Flow",
    "FlowSteps",
    "LoadKeys",
    "Mask",
    "Pinned",
    "Request",
    "Response",
    "RunBlocking",
    "RunShared",
    "RunsAsync",
    "RunsBlocking",
    "Send",
    "SharedCall",
    "SharedOutcome",
    "SingleFlight",
    "Sleep",
    "Trust",
    "Unpinned",
    "emit",
    "load_keys",
    "mask",
    "operation",
    "run_blocking",
    "send",
    "sleep",
]


T = TypeVar("T")


class Unpinned(Enum):
    """How the certificate of a server is checked if it is not pinned."""

    VERIFY = "verify"
    INSECURE = "insecure"


@dataclass(frozen=True, slots=True)
class Pinned:
    """Accept only a certificate with one of these SHA-256 fingerprints (lower-case hex)."""

    fingerprints: frozenset[str]


Trust: TypeAlias = Unpinned | Pinned


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request. Headers and body are not in ``repr``: they may hold credentials.

    :param method: HTTP method, upper case.
    :param url: Absolute URL.
    :param headers: Headers to send.
    :param body: The whole body.
    :param trust: How the server's certificate is checked.
    :param path_key: A credential that is the last part of the path. ``url`` has ``***`` in its place, so that it
        can be logged.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    trust: Trust = Unpinned.VERIFY
    path_key: Secret | None = None

    @property
    def revealed_url(self) -> str:
        """The URL as it is sent, including the path key, which makes it a secret."""
        if self.path_key is None:
            return self.url
        return self.url.removesuffix(REDACTED) + quote(self.path_key.reveal(), safe="")

    def with_header(self, name: str, value: str) -> Request:
        """Return the same request with one header set."""
        return replace(self, headers={**self.headers, name: value})


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response that was read completely.

    :param status: HTTP status.
    :param headers: Headers with lower-case names.
    :param body: The body; not in ``repr``, since that of a token endpoint is a secret.
    :param elapsed: Seconds from sending the request to the end of the response.
    :param request: The request as it was sent: needed to redact what the response may echo of it.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    elapsed: float = 0.0
    request: Request | None = field(default=None, repr=False, compare=False)


class Send:
    """Send a request. Answered with the :class:`Response`, or raises ``BloqUnavailable``."""

    __match_args__ = ("request",)

    def __init__(self, request: Request) -> None:
        self.request = request


class Sleep:
    """Wait for some seconds."""

    __match_args__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class LoadKeys:
    """Read the client keys from their source. Answered with a :class:`KeyReading`."""

    __match_args__ = ("source",)

    def __init__(self, source: KeySource) -> None:
        self.source = source


class Mask:
    """Hide these values wherever the process logs."""

    __match_args__ = ("secrets",)

    def __init__(self, secrets: tuple[Secret, ...]) -> None:
        self.secrets = secrets


class RunBlocking:
    """Call something that blocks. Answered with what it returns."""

    __match_args__ = ("call",)

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call


class Emit:
    """Emit an event to the observer."""

    __match_args__ = ("event",)

    def __init__(self, event: Event) -> None:
        self.event = event


class RunShared:
    """Run a flow, and end the shared call with its result or error. Answered with the result."""

    __match_args__ = ("call", "flow")

    def __init__(self, call: SharedCall[Any], flow: Flow[Any]) -> None:
        self.call = call
        self.flow = flow


class AwaitShared:
    """Wait for a shared call that another caller runs. Answered with its ``SharedOutcome``."""

    __match_args__ = ("call",)

    def __init__(self, call: SharedCall[Any]) -> None:
        self.call = call


Effect: TypeAlias = Send | Sleep | LoadKeys | Mask | Emit | RunBlocking | RunShared | AwaitShared
Flow: TypeAlias = Generator[Effect, Any, T]


class FlowSteps(Generic[T]):
    """Runs a flow effect by effect; the loop that drivers and wrappers of flows share::

        with FlowSteps(flow) as steps:
            for effect in steps:
                try:
                    steps.answer = perform(effect)
                except Exception as error:
                    steps.failure = error
            return steps.result

    :param flow: The flow. It is closed at the end of the ``with`` block.
    """

    __slots__ = ("_flow", "answer", "failure", "result")

    #: What the flow returned; set when the iteration has ended.
    result: T

    def __init__(self, flow: Flow[T]) -> None:
        self._flow = flow
        #: The answer to the latest effect.
        self.answer: Any = None
        #: The error that the latest effect raises in the flow instead.
        self.failure: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flow.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Effect:
        answer, failure = self.answer, self.failure
        self.answer = self.failure = None
        try:
            return self._flow.send(answer) if failure is None else self._flow.throw(failure)
        except StopIteration as end:
            self.result = end.value
            raise


def send(request: Request) -> Flow[Response]:
    """Send one request, once.

    :raises BloqUnavailable: No answer came; its ``acted`` says whether the server may have acted.
    """
    response: Response = yield Send(request)
    return replace(response, request=request)


def sleep(seconds: float) -> Flow[None]:
    """Wait for ``seconds``."""
    yield Sleep(seconds)


def run_blocking(call: Callable[[], T]) -> Flow[T]:
    """Call something that blocks; on an event loop it runs in a thread."""
    result: T = yield RunBlocking(call)
    return result


def load_keys(source: KeySource) -> Flow[KeyReading]:
    """Read the client keys from their source and mask the secret at once."""
    reading: KeyReading = yield LoadKeys(source)
    yield from mask(reading.keys.client_secret)
    version = f", version {reading.version}" if reading.version is not None else ""
    yield from emit(Event("keys.read", f"Client keys read from {source.description}{version}"))
    return reading


def mask(*secrets: Secret | None) -> Flow[None]:
    """Hide secrets wherever the process logs. Do this before anything else is done with them."""
    present = tuple(secret for secret in secrets if secret)
    if present:
        yield Mask(present)


def emit(event: Event) -> Flow[None]:
    """Emit an event to the observer, which writes logs and metrics; nothing depends on it."""
    yield Emit(event)


S = TypeVar("S")
P = ParamSpec("P")


class BlockingRunner(Protocol):
    """Runs a flow to its end with blocking calls."""

    def __call__(self, flow: Flow[T], /) -> T: ...


class AsyncRunner(Protocol):
    """Runs a flow to its end on the running event loop."""

    def __call__(self, flow: Flow[T], /) -> Coroutine[Any, Any, T]: ...


class RunsBlocking:
    """Mixin that turns an API description into a client whose operations block.

    :param run: Runs the operations.
    """

    def __init__(self, run: BlockingRunner, **description: Any) -> None:
        super().__init__(**description)
        self.run = run


class RunsAsync:
    """Mixin that turns an API description into a client whose operations are awaited.

    :param run: Runs the operations.
    """

    def __init__(self, run: AsyncRunner, **description: Any) -> None:
        super().__init__(**description)
        self.run = run


class operation(Generic[S, P, T]):  # noqa: N801 - a decorator, written as one
    """Decorator for a flow method: a blocking client returns its result, an async client returns an awaitable.

    Other flows use it as ``yield from Description.name.flow(self, ...)``.
    """

    def __init__(self, flow: Callable[Concatenate[S, P], Flow[T]]) -> None:
        self.flow = flow
        self.__doc__ = flow.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> operation[S, P, T]: ...

    @overload
    def __get__(self, client: RunsBlocking, owner: type) -> Callable[P, T]: ...

    @overload
    def __get__(self, client: RunsAsync, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...

    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self

        @functools.wraps(self.flow)
        def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.run(self.flow(client, *args, **kwargs))

        return call


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
