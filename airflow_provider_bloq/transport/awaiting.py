"""Drives flows on an event loop: ``aiohttp`` sends, what blocks goes to a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import aiohttp

from airflow_provider_bloq.auth.events import Observer, log_event
from airflow_provider_bloq.auth.flight import Landing, Ticket
from airflow_provider_bloq.auth.flow import (
    Block,
    Effect,
    Flow,
    Follow,
    Lead,
    LoadKeys,
    Mask,
    Request,
    Response,
    Send,
    Sleep,
    Tell,
)
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.exceptions import BloqApiError
from airflow_provider_bloq.transport.connections import Connections, proxy_for
from airflow_provider_bloq.transport.network import Network, no_answer, wrong_certificate
from airflow_provider_bloq.transport.observing import answered, unanswered
from airflow_provider_bloq.transport.threads import in_thread

__all__ = ["AwaitingDriver"]

T = TypeVar("T")

#: Seconds after which a waiting task looks whether its leader's event loop still runs.
LOOK_AROUND = 1.0


class AwaitingDriver:
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
        self._connections = Connections(network)
        self._mask = mask
        self._sleep = sleep
        self._observe = observe
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
            case Tell(event):
                return self._observe(event)
            case Block(call):
                return await in_thread(call)
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

    async def _observed(self, request: Request) -> Response:
        started = time.monotonic()
        try:
            response = await self._send(request)
        except BloqApiError as error:
            self._observe(unanswered(request, error, time.monotonic() - started))
            raise
        self._observe(answered(request, response))
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
            request.wire_url,
            headers=dict(request.headers),
            data=request.body,
            allow_redirects=False,
            ssl=tls,
            proxy=proxy_for(request.url),
        ) as response:
            body = await response.read()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status, headers, body, time.monotonic() - started)


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


def _surely_unsent(error: Exception) -> bool:
    """Tell whether the connection never came about, so that the service cannot have acted."""
    return isinstance(
        error,
        aiohttp.ClientConnectorError
        | aiohttp.ConnectionTimeoutError
        | aiohttp.ClientHttpProxyError
        | ValueError,
    )
