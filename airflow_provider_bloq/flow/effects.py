"""Logic without I/O: a flow is a generator that yields what it needs and is sent what came of it.

The ladder, retries and 401 handling are written once as flows. ``transport`` drives them, with
blocking calls or on an event loop; a test drives them with a script.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    overload,
)
from urllib.parse import quote

from airflow_provider_bloq.auth.credentials import REDACTED
from airflow_provider_bloq.flow.events import Event

if TYPE_CHECKING:
    from airflow_provider_bloq.auth.credentials import KeyReading, KeySource, Secret
    from airflow_provider_bloq.flow.shared_call import SharedCall

__all__ = [
    "AsyncRunner",
    "AwaitShared",
    "BlockingRunner",
    "Effect",
    "Emit",
    "Flow",
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
    """How far a server is trusted whose certificate is not pinned."""

    VERIFY = "verify"
    INSECURE = "insecure"


@dataclass(frozen=True, slots=True)
class Pinned:
    """Only a certificate with one of these SHA-256 fingerprints (lower-case hex) is accepted."""

    fingerprints: frozenset[str]


Trust: TypeAlias = Unpinned | Pinned


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Headers and body stay out of ``repr``: they may hold credentials.

    :param method: HTTP method, upper case.
    :param url: Absolute URL.
    :param headers: Headers to send.
    :param body: The whole body; there is no streaming here.
    :param trust: What makes the server's certificate acceptable.
    :param path_key: A credential that is the last part of the path. ``url`` ends in ``***`` instead, so that
        whoever shows it shows no secret.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    trust: Trust = Unpinned.VERIFY
    path_key: Secret | None = None

    @property
    def revealed_url(self) -> str:
        """The URL as it is sent, with the path key in it: a secret itself where there is one."""
        if self.path_key is None:
            return self.url
        return self.url.removesuffix(REDACTED) + quote(self.path_key.reveal(), safe="")

    def with_header(self, name: str, value: str) -> Request:
        """Return the same request with one header set."""
        return replace(self, headers={**self.headers, name: value})


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response, wholly read.

    :param status: HTTP status.
    :param headers: Headers with lower-case names.
    :param body: The body; out of ``repr``, since a token endpoint's body is a secret.
    :param elapsed: Seconds from sending the request to the end of the answer.
    :param request: What it answers, as it was sent: who quotes the answer has to know what it may echo.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    elapsed: float = 0.0
    request: Request | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request; gives the :class:`Response`, or raises ``BloqUnavailable``."""

    request: Request


@dataclass(frozen=True, slots=True)
class Sleep:
    """Let time pass; gives nothing."""

    seconds: float


@dataclass(frozen=True, slots=True)
class LoadKeys:
    """Read the client keys from their source; gives a :class:`KeyReading`."""

    source: KeySource


@dataclass(frozen=True, slots=True)
class Mask:
    """Have these values hidden wherever the process logs; gives nothing."""

    secrets: tuple[Secret, ...]


@dataclass(frozen=True, slots=True)
class RunBlocking:
    """Call something that blocks, such as a library without an async twin; gives what it returns."""

    call: Callable[[], Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Emit:
    """Have those told who want to know what happens; gives nothing."""

    event: Event


@dataclass(frozen=True, slots=True)
class RunShared:
    """Run the flight's flow and end the flight with what comes of it; gives the result."""

    call: SharedCall[Any]
    flow: Flow[Any]


@dataclass(frozen=True, slots=True)
class AwaitShared:
    """Wait for a flight that another leads; gives its :class:`~.flight.Landing`."""

    call: SharedCall[Any]


Effect: TypeAlias = Send | Sleep | LoadKeys | Mask | Emit | RunBlocking | RunShared | AwaitShared
Flow: TypeAlias = Generator[Effect, Any, T]


def send(request: Request) -> Flow[Response]:
    """Send one request, once.

    :raises BloqUnavailable: No answer came; its ``acted`` tells whether the server may have acted.
    """
    response: Response = yield Send(request)
    return replace(response, request=request)


def sleep(seconds: float) -> Flow[None]:
    """Let ``seconds`` pass."""
    yield Sleep(seconds)


def run_blocking(call: Callable[[], T]) -> Flow[T]:
    """Call something that blocks: where an event loop runs, in a thread."""
    result: T = yield RunBlocking(call)
    return result


def load_keys(source: KeySource) -> Flow[KeyReading]:
    """Read the client keys from their source and have the secret masked at once."""
    reading: KeyReading = yield LoadKeys(source)
    yield from mask(reading.keys.client_secret)
    version = f", version {reading.version}" if reading.version is not None else ""
    yield from emit(Event("keys.read", f"Client keys read from {source.description}{version}"))
    return reading


def mask(*secrets: Secret | None) -> Flow[None]:
    """Have secrets hidden wherever the process logs, before anything else is done with them."""
    present = tuple(secret for secret in secrets if secret)
    if present:
        yield Mask(present)


def emit(event: Event) -> Flow[None]:
    """Tell of something that happened: to logs and metrics, and to nobody who decides by it."""
    yield Emit(event)


S = TypeVar("S")
P = ParamSpec("P")


class BlockingRunner(Protocol):
    """Drives a flow to its end with blocking calls."""

    def __call__(self, flow: Flow[T], /) -> T:
        """Drive it."""


class AsyncRunner(Protocol):
    """Drives a flow to its end on the running event loop."""

    def __call__(self, flow: Flow[T], /) -> Coroutine[Any, Any, T]:
        """Drive it."""


class RunsBlocking:
    """Mixed into a description, makes a client whose operations block.

    :param run: Drives the operations.
    """

    def __init__(self, run: BlockingRunner, **description: Any) -> None:
        super().__init__(**description)
        self.run = run


class RunsAsync:
    """Mixed into a description, makes a client whose operations are awaited.

    :param run: Drives the operations.
    """

    def __init__(self, run: AsyncRunner, **description: Any) -> None:
        super().__init__(**description)
        self.run = run


class operation(Generic[S, P, T]):  # noqa: N801 - a decorator, written as one
    """Makes a flow method callable: on a blocking client it returns, on an async one it is awaited.

    Inside other flows it is used as ``yield from Description.name.flow(self, ...)``.
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
