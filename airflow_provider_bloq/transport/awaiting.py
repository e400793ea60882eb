"""Drives flows on an event loop: ``aiohttp`` sends, what blocks goes to a thread."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy

from airflow_provider_bloq.auth.flight import Landing, Ticket
from airflow_provider_bloq.auth.flow import (
    Block,
    Effect,
    Flow,
    Follow,
    Lead,
    LoadKeys,
    Mask,
    Pinned,
    Request,
    Response,
    Send,
    Sleep,
    Trust,
    Unpinned,
)
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.transport.certificates import ca_context
from airflow_provider_bloq.transport.network import USER_AGENT, Network, no_answer, wrong_certificate

__all__ = ["AwaitingDriver"]

T = TypeVar("T")

#: Seconds after which a waiting task looks whether its leader's event loop still runs.
LOOK_AROUND = 1.0


class AwaitingDriver:
    """Runs flows on the running event loop, which it never blocks.

    :param network: The connection's settings.
    :param mask: Hides a secret wherever the process logs.
    :param sleep: Lets seconds pass.
    """

    def __init__(
        self,
        network: Network,
        *,
        mask: Callable[[str], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._network = network
        self._mask = mask
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None
        self._leading = 0
        self._is_closed = False
        self._masked: set[Secret] = set()

    async def run(self, flow: Flow[T], /) -> T:
        """Run a flow to its end.

        :return: What it returns.
        """
        answer: Any = None
        failure: Exception | None = None
        try:
            while True:
                try:
                    effect = flow.send(answer) if failure is None else flow.throw(failure)
                except StopIteration as end:
                    result: T = end.value
                    return result
                answer, failure = None, None
                try:
                    answer = await self._perform(effect)
                except Exception as error:
                    failure = error
        finally:
            flow.close()

    async def close(self) -> None:
        """Close the connections that are kept open, at the latest when the last flight led here has ended."""
        self._is_closed = True
        await self._close_unless_needed()

    async def _close_unless_needed(self) -> None:
        # Others may wait for a flight whose own caller was cancelled and has closed this driver.
        if self._is_closed and not self._leading:
            session, self._session = self._session, None
            if session is not None:
                await session.close()

    async def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send(request):
                return await self._send(request)
            case Sleep(seconds):
                return await self._sleep(seconds)
            case LoadKeys(source):
                return await source.aload()
            case Mask(secrets):
                for secret in secrets:
                    await self._mask_once(secret)
                return None
            case Block(call):
                return await asyncio.to_thread(call)
            case Lead(ticket, flow):
                ticket.led_on(asyncio.get_running_loop())
                # A task of its own: a caller that is cancelled must not take the token from all who
                # wait for it.
                task = asyncio.create_task(self._lead(ticket, flow))
                await _is_done(task)
                return task.result()
            case Follow(ticket):
                return await _landing(ticket)

    async def _mask_once(self, secret: Secret) -> None:
        # Whoever waits for a node reads the same passwords at every look.
        if secret not in self._masked:
            await self._mask(secret.reveal())
            self._masked.add(secret)

    async def _lead(self, ticket: Ticket[T], flow: Flow[T]) -> T:
        self._leading += 1
        try:
            result = await self.run(flow)
        except BaseException as error:
            ticket.crash(error)
            raise
        else:
            ticket.land(result)
            return result
        finally:
            self._leading -= 1
            await self._close_unless_needed()

    async def _send(self, request: Request) -> Response:
        session = self._open_session()
        try:
            tls = await self._ssl_for(request.trust) if request.url.startswith("https:") else True
        except OSError as error:
            # The CA bundle that the environment names does not exist.
            raise no_answer(request, error, acted=False) from error
        started = time.monotonic()
        try:
            # Redirects are not followed: none is documented, and one would carry the client keys on.
            async with session.request(
                request.method,
                request.wire_url,
                headers=dict(request.headers),
                data=request.body,
                allow_redirects=False,
                ssl=tls,
                proxy=_proxy_for(request.url),
            ) as response:
                body = await response.read()
        except aiohttp.ServerFingerprintMismatch as mismatch:
            raise wrong_certificate(request, mismatch.got.hex()) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise no_answer(request, error, acted=not _surely_unsent(error)) from None
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status, headers, body, time.monotonic() - started)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._network.timeout, sock_read=self._network.timeout
                ),
                headers={"User-Agent": f"{USER_AGENT} aiohttp/{aiohttp.__version__}"},
                cookie_jar=aiohttp.DummyCookieJar(),
                # The environment's proxies are looked up here; by itself aiohttp would read .netrc too.
                trust_env=False,
            )
        return self._session

    async def _ssl_for(self, trust: Trust) -> Any:
        if isinstance(trust, Pinned):
            return _Pins(trust.fingerprints)
        if trust is Unpinned.INSECURE:
            return False
        if self._tls is None:
            self._tls = await asyncio.to_thread(ca_context, self._network.ca_bundle)
        return self._tls


def _proxy_for(url: str) -> str | None:
    """Return the environment's proxy for a URL, by the rules of ``requests``."""
    proxy = select_proxy(url, get_environ_proxies(url))
    return prepend_scheme_if_needed(proxy, "http") if proxy else None


async def _landing(ticket: Ticket[Any]) -> Landing:
    """Wait until a flight that another leads has ended."""
    arrival = asyncio.wrap_future(ticket.future)
    while not ticket.is_lost:
        if await _is_done(arrival, timeout=LOOK_AROUND):
            return Landing.ABANDONED if arrival.cancelled() else Landing.ARRIVED
    ticket.abandon()
    return Landing.ABANDONED


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


def _surely_unsent(error: Exception) -> bool:
    """Tell whether the connection never came about, so that the service cannot have acted."""
    return isinstance(
        error,
        aiohttp.ClientConnectorError
        | aiohttp.ConnectionTimeoutError
        | aiohttp.ClientHttpProxyError
        | ValueError,
    )
