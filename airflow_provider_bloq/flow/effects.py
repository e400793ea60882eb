"""Flows: logic without I/O, written as generators that yield effects and are sent the answers.

Token handling, retries and answers to a 401 are written once as flows. The drivers in ``sync_driver`` and
``async_driver`` perform the effects; tests perform them with a script.
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
    from airflow_provider_bloq.flow.shared_call import SharedCall

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
        #: What the latest effect is answered with.
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
