"""Blocking calls beside an event loop, from which Airflow's own blocking functions still find that loop."""

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
    Sleep,
    Trust,
    Unpinned,
)
from airflow_provider_bloq.flow.events import Observer, log_event
from airflow_provider_bloq.flow.network import (
    USER_AGENT,
    Network,
    ca_context,
    no_answer,
    wrong_certificate,
)
from airflow_provider_bloq.flow.responses import error_of
from airflow_provider_bloq.flow.session import failure_event, response_event
from airflow_provider_bloq.flow.shared_call import SharedCall, SharedOutcome
from airflow_provider_bloq.flow.threads import in_thread

__all__ = [
    "AsyncConnections",
    "AsyncDriver",
    "proxy_for",
]


T = TypeVar("T")


#: Seconds that a server may take to agree that a WebSocket is closed.
FAREWELL = 2.0


class AsyncConnections:
    """Keeps connections open until :meth:`close`, after which they are made anew where they are wanted.

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
        """Return the session; requests through it need :meth:`tls_for` and :func:`proxy_for` as well."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._network.timeout, sock_read=self._network.timeout
                ),
                headers={"User-Agent": f"{USER_AGENT} aiohttp/{aiohttp.__version__}"},
                cookie_jar=aiohttp.DummyCookieJar(),
                # The environment's proxies are looked up here; by itself aiohttp would read .netrc too.
                trust_env=False,
                trace_configs=[_refusing_redirects()],
            )
        return self._session

    async def tls_for(self, trust: Trust) -> Any:
        """Return what makes a server's certificate acceptable, as ``aiohttp`` takes it.

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
        """Open a WebSocket; whoever asks for it closes it.

        :param request: How it is opened, without the query.
        :param query: The query, which may hold secrets. It makes the URL a secret: no error quotes it.
        :raises BloqApiError: The server does not open one; ``status`` tells what it answered.
        """
        try:
            return await self._opened(request, query)
        except aiohttp.WSServerHandshakeError as refused:
            headers = {name.lower(): value for name, value in (refused.headers or {}).items()}
            failure: BloqApiError = error_of(request, Response(refused.status, headers))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = no_answer(request, error, acted=False)
        # Raised out here, since the errors of aiohttp hold the URL and would go along as the context.
        raise failure

    async def close(self) -> None:
        """Close what is open."""
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
            timeout=aiohttp.ClientWSTimeout(ws_close=FAREWELL),
        )


def proxy_for(url: str) -> str | None:
    """Return the environment's proxy for a URL, by the rules of ``requests``."""
    proxy = select_proxy(url, get_environ_proxies(url))
    return prepend_scheme_if_needed(proxy, "http") if proxy else None


class _Pins(aiohttp.Fingerprint):
    """Several fingerprints where aiohttp's own class knows one."""

    def __init__(self, fingerprints: frozenset[str]) -> None:
        super().__init__(bytes(32))
        self._fingerprints = fingerprints

    # Equal pins share connections; different ones must not.
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
    """A server would have the request made elsewhere."""


def _refusing_redirects() -> aiohttp.TraceConfig:
    """Make what ends a request that is redirected.

    None is documented, and one would carry the client keys on. To open a WebSocket, aiohttp follows unasked.
    """

    async def refuse(*_: object) -> None:
        raise _RedirectRefused

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(refuse)
    return config


#: Seconds after which a waiting task looks whether its leader's event loop still runs.
OWNER_CHECK_INTERVAL = 1.0


class AsyncDriver:
    """Runs flows on the running event loop, which it never blocks.

    :param network: The connection's settings.
    :param mask: Hides a secret wherever the process logs.
    :param sleep: Lets seconds pass.
    :param observe: Is told what happens.
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
        self._leading = 0
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
        """See :meth:`Connections.open_websocket`."""
        return await self._connections.open_websocket(request, query)

    @property
    def is_open(self) -> bool:
        """See :attr:`Connections.is_open`."""
        return self._connections.is_open

    async def close(self) -> None:
        """Close the connections that are kept open, at the latest when the last flight led here has ended."""
        self._is_closed = True
        await self._close_unless_needed()

    async def _close_unless_needed(self) -> None:
        # Others may wait for a flight whose own caller was cancelled and has closed this driver.
        if self._is_closed and not self._leading:
            await self._connections.close()

    async def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send(request):
                return await self._observed(request)
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
                # A task of its own: a caller that is cancelled must not take the token from all who
                # wait for it.
                task = asyncio.create_task(self._run_shared(call, flow))
                await _is_done(task)
                return task.result()
            case AwaitShared(call):
                return await _await_shared(call)

    async def _mask_once(self, secret: Secret) -> None:
        # Whoever waits for a node reads the same passwords at every look.
        if secret not in self._masked:
            await self._mask(secret.reveal())
            self._masked.add(secret)

    async def _run_shared(self, call: SharedCall[T], flow: Flow[T]) -> T:
        self._leading += 1
        try:
            result = await self.run(flow)
        except BaseException as error:
            call.set_error(error)
            raise
        else:
            call.set_result(result)
            return result
        finally:
            self._leading -= 1
            await self._close_unless_needed()

    async def _observed(self, request: Request) -> Response:
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
                failure = no_answer(request, error, acted=not _surely_unsent(error))
        # Raised out here, since the errors of aiohttp hold the request with its credentials, and would go along as
        # the context.
        raise failure

    async def _exchange(self, request: Request, tls: Any) -> Response:
        started = time.monotonic()
        # Redirects are not followed: none is documented, and one would carry the client keys on.
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
    """Wait until a flight that another leads has ended."""
    arrival = asyncio.wrap_future(call.future)
    while not call.is_lost:
        if await _is_done(arrival, timeout=OWNER_CHECK_INTERVAL):
            return SharedOutcome.ABANDONED if arrival.cancelled() else SharedOutcome.DONE
    call.abandon()
    return SharedOutcome.ABANDONED


async def _is_done(future: asyncio.Future[Any], *, timeout: float | None = None) -> bool:
    """Wait without being bound to it: it goes on when the waiting task is cancelled.

    :param future: What to wait for.
    :param timeout: For how many seconds at most.
    """
    # Its error is told to whoever asks for the result; asyncio need not report that nobody did.
    future.add_done_callback(_take_note)
    _under_way.add(future)
    future.add_done_callback(_under_way.discard)
    done, _ = await asyncio.wait([future], timeout=timeout)
    return bool(done)


def _take_note(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()


#: The event loop itself holds its tasks weakly.
_under_way: set[asyncio.Future[Any]] = set()


def _surely_unsent(error: Exception) -> bool:
    """Tell whether the connection never came about, so that the service cannot have acted."""
    return isinstance(
        error,
        aiohttp.ClientConnectorError
        | aiohttp.ConnectionTimeoutError
        | aiohttp.ClientHttpProxyError
        | ValueError,
    )
