"""The asyncio driver of flows: ``aiohttp`` sends, blocking calls run in threads."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import aiohttp
from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.exceptions import BloqApiError
from airflow_provider_bloq.flow.effects import (
    AwaitShared,
    Effect,
    Emit,
    Flow,
    FlowSteps,
    LoadKeys,
    Mask,
    Pinned,
    Request,
    Response,
    RunBlocking,
    RunShared,
    Send,
    SharedCall,
    SharedOutcome,
    Sleep,
    Trust,
    Unpinned,
)
from airflow_provider_bloq.flow.events import Observer, log_event
from airflow_provider_bloq.flow.network import USER_AGENT, Network, ca_context
from airflow_provider_bloq.flow.service import (
    error_of,
    failure_event,
    no_answer,
    response_event,
    wrong_certificate,
)
from airflow_provider_bloq.flow.threads import in_thread

__all__ = [
    "AsyncConnections",
    "AsyncDriver",
    "proxy_for",
]


T = TypeVar("T")


#: Seconds to wait for a server to confirm that a WebSocket is closed.
CLOSE_TIMEOUT = 2.0


class AsyncConnections:
    """Keeps connections open until :meth:`close`; after that they are opened again when needed.

    :param network: The connection's settings.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._session: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None

    @property
    def is_open(self) -> bool:
        """Whether connections may be kept open."""
        return self._session is not None

    def session(self) -> aiohttp.ClientSession:
        """Return the session; requests also need :meth:`tls_for` and :func:`proxy_for`."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._network.timeout, sock_read=self._network.timeout
                ),
                headers={"User-Agent": f"{USER_AGENT} aiohttp/{aiohttp.__version__}"},
                cookie_jar=aiohttp.DummyCookieJar(),
                # proxy_for() reads the environment's proxies; aiohttp itself would also read .netrc.
                trust_env=False,
                trace_configs=[_refusing_redirects()],
            )
        return self._session

    async def tls_for(self, trust: Trust) -> Any:
        """Return the ``ssl`` argument of ``aiohttp`` for a request.

        :raises OSError: The CA bundle does not exist.
        """
        if isinstance(trust, Pinned):
            return _Pins(trust.fingerprints)
        if trust is Unpinned.INSECURE:
            return False
        if self._tls is None:
            self._tls = await asyncio.to_thread(ca_context, self._network.ca_bundle)
        return self._tls

    async def open_websocket(
        self, request: Request, query: Mapping[str, Secret | str]
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket; the caller closes it.

        :param request: The opening request, without the query.
        :param query: The query, which may hold secrets: no error quotes it.
        :raises BloqApiError: The server does not open one; ``status`` is its response.
        """
        try:
            return await self._opened(request, query)
        except aiohttp.WSServerHandshakeError as refused:
            headers = {name.lower(): value for name, value in (refused.headers or {}).items()}
            failure: BloqApiError = error_of(request, Response(refused.status, headers))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = no_answer(request, error, acted=False)
        # Raised outside the except, since the errors of aiohttp hold the URL and would become the context.
        raise failure

    async def close(self) -> None:
        """Close the open connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _opened(
        self, request: Request, query: Mapping[str, Secret | str]
    ) -> aiohttp.ClientWebSocketResponse:
        return await self.session().ws_connect(
            request.url,
            params={name: one.reveal() if isinstance(one, Secret) else one for name, one in query.items()},
            headers=dict(request.headers),
            ssl=await self.tls_for(request.trust) if request.url.startswith("https:") else True,
            proxy=proxy_for(request.url),
            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
        )


def proxy_for(url: str) -> str | None:
    """Return the environment's proxy for a URL, by the rules of ``requests``."""
    proxy = select_proxy(url, get_environ_proxies(url))
    return prepend_scheme_if_needed(proxy, "http") if proxy else None


class _Pins(aiohttp.Fingerprint):
    """Several fingerprints; aiohttp's own class accepts one."""

    def __init__(self, fingerprints: frozenset[str]) -> None:
        super().__init__(bytes(32))
        self._fingerprints = fingerprints

    # Only equal pins may share connections.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pins) and other._fingerprints == self._fingerprints

    def __hash__(self) -> int:
        return hash(self._fingerprints)

    def check(self, transport: asyncio.Transport) -> None:
        shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
        digest = hashlib.sha256(shown).digest()
        if digest.hex() not in self._fingerprints:
            host, port, *_ = transport.get_extra_info("peername")
            raise aiohttp.ServerFingerprintMismatch(self.fingerprint, digest, host, port)


class _RedirectRefused(aiohttp.ClientError):
    """A server redirected the request."""


def _refusing_redirects() -> aiohttp.TraceConfig:
    """Return a trace config that ends a redirected request: when opening a WebSocket, aiohttp follows redirects."""

    async def refuse(*_: object) -> None:
        raise _RedirectRefused

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(refuse)
    return config


#: Seconds after which a waiting task checks whether the event loop that runs the shared call still runs.
OWNER_CHECK_INTERVAL = 1.0


class AsyncDriver:
    """Runs flows on the running event loop, which it never blocks.

    :param network: The connection's settings.
    :param mask: Hides a secret wherever the process logs.
    :param sleep: Waits for some seconds.
    :param observe: Receives the events.
    """

    def __init__(
        self,
        network: Network,
        *,
        mask: Callable[[str], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        observe: Observer = log_event,
    ) -> None:
        self._connections = AsyncConnections(network)
        self._mask = mask
        self._sleep = sleep
        self._observe = observe
        self._running = 0
        self._is_closed = False
        self._masked: set[Secret] = set()

    async def run(self, flow: Flow[T], /) -> T:
        """Run a flow to its end and return its result."""
        with FlowSteps(flow) as steps:
            for effect in steps:
                try:
                    steps.answer = await self._perform(effect)
                except Exception as error:
                    steps.failure = error
            return steps.result

    async def open_websocket(
        self, request: Request, query: Mapping[str, Secret | str]
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket, as :meth:`AsyncConnections.open_websocket`."""
        return await self._connections.open_websocket(request, query)

    @property
    def is_open(self) -> bool:
        """Whether connections may be kept open."""
        return self._connections.is_open

    async def close(self) -> None:
        """Close the open connections, but only after the last shared call that runs here has ended."""
        self._is_closed = True
        await self._close_unless_needed()

    async def _close_unless_needed(self) -> None:
        # Others may wait for a shared call whose own caller was cancelled and has closed this driver.
        if self._is_closed and not self._running:
            await self._connections.close()

    async def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send(request):
                return await self._send_observed(request)
            case Sleep(seconds):
                return await self._sleep(seconds)
            case LoadKeys(source):
                return await source.aload()
            case Mask(secrets):
                for secret in secrets:
                    await self._mask_once(secret)
                return None
            case Emit(event):
                return self._observe(event)
            case RunBlocking(call):
                return await in_thread(call)
            case RunShared(call, flow):
                call.runs_on(asyncio.get_running_loop())
                # In a separate task: if this caller is cancelled, the others still get the token.
                task = asyncio.create_task(self._run_shared(call, flow))
                await _is_done(task)
                return task.result()
            case AwaitShared(call):
                return await _await_shared(call)

    async def _mask_once(self, secret: Secret) -> None:
        # A wait for a node reads the same passwords at each poll.
        if secret not in self._masked:
            await self._mask(secret.reveal())
            self._masked.add(secret)

    async def _run_shared(self, call: SharedCall[T], flow: Flow[T]) -> T:
        self._running += 1
        try:
            result = await self.run(flow)
        except BaseException as error:
            call.set_error(error)
            raise
        else:
            call.set_result(result)
            return result
        finally:
            self._running -= 1
            await self._close_unless_needed()

    async def _send_observed(self, request: Request) -> Response:
        started = time.monotonic()
        try:
            response = await self._send(request)
        except BloqApiError as error:
            self._observe(failure_event(request, error, time.monotonic() - started))
            raise
        self._observe(response_event(request, response))
        return response

    async def _send(self, request: Request) -> Response:
        try:
            tls = await self._connections.tls_for(request.trust) if request.url.startswith("https:") else True
        except OSError as error:
            # The CA bundle that the environment names does not exist.
            failure: BloqApiError = no_answer(request, error, acted=False)
        else:
            try:
                return await self._exchange(request, tls)
            except aiohttp.ServerFingerprintMismatch as mismatch:
                failure = wrong_certificate(request, mismatch.got.hex())
            except (aiohttp.ClientError, OSError, ValueError) as error:
                failure = no_answer(request, error, acted=not _was_not_sent(error))
        # Raised outside the except, since the errors of aiohttp hold the request with its credentials and would become
        # the context.
        raise failure

    async def _exchange(self, request: Request, tls: Any) -> Response:
        started = time.monotonic()
        # Redirects are not followed: none is documented, and one would forward the client keys.
        async with self._connections.session().request(
            request.method,
            request.revealed_url,
            headers=dict(request.headers),
            data=request.body,
            allow_redirects=False,
            ssl=tls,
            proxy=proxy_for(request.url),
        ) as response:
            body = await response.read()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status, headers, body, time.monotonic() - started)


async def _await_shared(call: SharedCall[Any]) -> SharedOutcome:
    """Wait for the end of a shared call that another caller runs."""
    arrival = asyncio.wrap_future(call.future)
    while not call.is_lost:
        if await _is_done(arrival, timeout=OWNER_CHECK_INTERVAL):
            return SharedOutcome.ABANDONED if arrival.cancelled() else SharedOutcome.DONE
    call.abandon()
    return SharedOutcome.ABANDONED


async def _is_done(future: asyncio.Future[Any], *, timeout: float | None = None) -> bool:
    """Wait for a future, which continues if the waiting task is cancelled.

    :param future: The future.
    :param timeout: Seconds to wait at most.
    """
    # Callers get its error with the result; asyncio need not report that nobody retrieved it.
    future.add_done_callback(_retrieve_error)
    _pending.add(future)
    future.add_done_callback(_pending.discard)
    done, _ = await asyncio.wait([future], timeout=timeout)
    return bool(done)


def _retrieve_error(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()


#: Strong references: the event loop has only weak ones.
_pending: set[asyncio.Future[Any]] = set()


def _was_not_sent(error: Exception) -> bool:
    """Return whether there was no connection, so that the service cannot have acted."""
    return isinstance(
        error,
        aiohttp.ClientConnectorError
        | aiohttp.ConnectionTimeoutError
        | aiohttp.ClientHttpProxyError
        | ValueError,
    )
