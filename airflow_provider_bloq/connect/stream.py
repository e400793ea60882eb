"""Connect's stream of new blocks and transactions: a connection, reconnecting, and waiting for updates of a chain."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import aiohttp

from airflow_provider_bloq.auth.bearer import MAX_REPLACEMENTS, BearerAuth
from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.connect.stream_packets import (
    PING,
    Signal,
    StreamEvent,
    StreamHandshake,
    StreamPacket,
    StreamRefusal,
    is_block,
    is_token_expiry,
    read_packet,
    subscriptions,
    txid_in,
)
from airflow_provider_bloq.exceptions import BloqApiError, BloqError, BloqUnavailable, BloqUnsafeAddress
from airflow_provider_bloq.flow.async_driver import AsyncDriver
from airflow_provider_bloq.flow.backoff import BackoffSettings, advice_on
from airflow_provider_bloq.flow.effects import AsyncRunner, Request

__all__ = [
    "LONG_PAUSE",
    "STABLE_AFTER",
    "ChainUpdates",
    "ConnectionFailures",
    "ReconnectingStream",
    "StreamEnded",
    "StreamEndpoint",
    "StreamListener",
    "StreamSession",
]


log = logging.getLogger(__name__)

#: Seconds after which a connection counts as successful. One that ends sooner may be accepted and closed forever.
STABLE_AFTER = 10.0
#: The first pause after a failure is half a second to one; it doubles, up to five minutes.
RECONNECT_BACKOFF = BackoffSettings(first=1.0, cap=300.0)
#: Seconds between attempts if a person has to fix the cause, such as a missing stream.
LONG_PAUSE = 900.0


class ChainUpdates:
    """Waits for a new block, or a connection that may have missed one.

    An update is only a reason to poll over REST. While the stream is down, every wait lasts until its timeout.
    Use it in ``async with``; it opens one connection.

    :param stream: The stream to listen to.
    :param addresses: Addresses whose transactions are updates as well.
    """

    def __init__(self, stream: ReconnectingStream, addresses: tuple[str, ...] = ()) -> None:
        self._stream = stream
        self._addresses = addresses
        self._updated = asyncio.Event()
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._exit.enter_async_context(self._stream.listening(self, subscriptions(self._addresses)))
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._exit.aclose()

    async def wait(self, timeout: float | None) -> bool:
        """Wait for an update. All updates since the last wait count as one.

        :param timeout: Maximum time in seconds; None for no limit.
        :return: Whether there was an update.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._updated.wait()
        except TimeoutError:
            return False
        self._updated.clear()
        return True

    def on_joined(self) -> None:
        self._updated.set()

    def on_event(self, event: StreamEvent) -> None:
        if is_block(event) or txid_in(event) is not None:
            self._updated.set()


class StreamListener(Protocol):
    """Receives the events of a stream. Its methods must return at once."""

    def on_joined(self) -> None:
        """Handle a new connection: events before it may have been missed."""

    def on_event(self, event: StreamEvent) -> None:
        """Handle an event."""


@dataclass(frozen=True, slots=True)
class ReconnectingStream:
    """Keeps listeners connected.

    :param endpoint: The endpoint of the stream.
    :param bearer: Provides tokens and the origins that may receive them.
    :param run: Drives flows.
    :param backoff: Pauses after failures.
    :param sleep: Waits a number of seconds.
    :param random: Returns a number from 0 to 1, for the jitter.
    """

    endpoint: StreamEndpoint
    bearer: BearerAuth
    run: AsyncRunner
    backoff: BackoffSettings = RECONNECT_BACKOFF
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = field(default=random.random, repr=False)

    @asynccontextmanager
    async def listening(self, listener: StreamListener, joining: Sequence[str]) -> AsyncIterator[None]:
        """Keep a listener connected during a ``with`` block. Does not wait for the first connection.

        :param listener: The listener.
        :param joining: The packets that join its rooms.
        :raises BloqUnsafeAddress: The token must not be sent there.
        """
        if not self.bearer.origins.covers(self.endpoint.url):
            raise BloqUnsafeAddress(
                f"The access token must not be sent to the origin of {self.endpoint.url}."
            )
        task = asyncio.create_task(self._keep_connected(listener, joining))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _keep_connected(self, listener: StreamListener, joining: Sequence[str]) -> None:
        failures = ConnectionFailures()
        while True:
            lasted, error = await self._listen_once(listener, joining, failures)
            is_about_token = isinstance(error, StreamEnded) and error.is_about_token
            failures = failures.after(lasted=lasted, is_about_token=is_about_token)
            if is_about_token and failures.may_retry_at_once:
                log.info("%s Reconnecting with a new token.", error)
                continue
            pause = self._pause(error, failures)
            # Errors of other libraries may quote secrets, so only their class is logged.
            reason = str(error) if isinstance(error, BloqError) else type(error).__name__
            log.warning("The stream is disconnected for %.0f s; polling continues: %s", pause, reason)
            await self.sleep(pause)

    async def _listen_once(
        self, listener: StreamListener, joining: Sequence[str], failures: ConnectionFailures
    ) -> tuple[float, Exception]:
        """Listen until the connection ends.

        :return: How many seconds it lasted, and why it ended.
        """
        clock = asyncio.get_running_loop().time
        joined_at: float | None = None
        try:
            token = (await self.run(self.bearer.provider.token())).secret
            try:
                async with self.endpoint.session(token, joining) as session:
                    joined_at = clock()
                    listener.on_joined()
                    async for event in session.events():
                        listener.on_event(event)
                raise session.ended("ended the connection")
            except StreamEnded as end:
                if end.is_about_token:
                    await self.run(
                        self.bearer.provider.replace_refused(token, at_first_use=failures.refusals > 0)
                    )
                raise
        except Exception as error:
            return 0.0 if joined_at is None else clock() - joined_at, error

    def _pause(self, error: Exception, failures: ConnectionFailures) -> float:
        jitter = self.random()
        if failures.retries_exhausted:
            return LONG_PAUSE
        advice = advice_on(error, failures.others, jitter, self.backoff)
        if advice is None:
            return self.backoff.pause(failures.others, jitter)
        return LONG_PAUSE if advice.pause is None else advice.pause


@dataclass(frozen=True, slots=True)
class ConnectionFailures:
    """The failures since the last successful connection.

    :param refusals: Connections that failed because of the token.
    :param others: Connections that failed for another reason.
    """

    refusals: int = 0
    others: int = 0

    def after(self, *, lasted: float, is_about_token: bool) -> ConnectionFailures:
        """Return the failures after another connection ended.

        :param lasted: Seconds between joining and the end; 0 if it was not joined.
        :param is_about_token: Whether the token was the reason.
        """
        before = ConnectionFailures() if lasted >= STABLE_AFTER else self
        if is_about_token:
            return ConnectionFailures(before.refusals + 1, before.others)
        return ConnectionFailures(before.refusals, before.others + 1)

    @property
    def may_retry_at_once(self) -> bool:
        """Whether to reconnect with a new token at once: as often as for any request."""
        return 0 < self.refusals <= MAX_REPLACEMENTS

    @property
    def retries_exhausted(self) -> bool:
        """Whether new tokens were refused too often."""
        return self.refusals > MAX_REPLACEMENTS


class StreamEnded(BloqUnavailable):
    """A connection of the stream ended or could not be opened.

    :param is_about_token: Whether the token was refused or has expired.
    """

    def __init__(self, message: str, *, is_about_token: bool = False, url: str | None = None) -> None:
        self.is_about_token = is_about_token
        super().__init__(message, acted=False, method="GET", url=url)


@dataclass(frozen=True, slots=True)
class StreamEndpoint:
    """Opens connections to the stream of a chain.

    :param driver: Opens WebSockets by the same rules as any request.
    :param url: URL of the stream, without a query.
    :param host: Host header, if the URL does not name the chain.
    :param timeout: Maximum time in seconds to open the connection, and to join.
    :param sleep: Waits a number of seconds between heartbeats.
    """

    driver: AsyncDriver
    url: str
    host: str | None
    timeout: float
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    @asynccontextmanager
    async def session(self, token: Secret, joining: Iterable[str]) -> AsyncIterator[StreamSession]:
        """Connect and join rooms for the duration of a ``with`` block.

        :param token: The access token. It is sent in the query, so that the whole URL is a secret.
        :param joining: The packets that join the rooms.
        :raises StreamEnded: The server refuses the connection.
        :raises BloqApiError: The server does not answer as a stream.
        """
        request = Request("GET", self.url, {} if self.host is None else {"Host": self.host})
        query: dict[str, Secret | str] = {"EIO": "3", "transport": "websocket", "token": token}
        try:
            async with asyncio.timeout(self.timeout):
                socket = await self._socket(request, query)
        except TimeoutError:
            raise StreamEnded(f"GET {self.url} did not open a stream in time", url=self.url) from None
        session = StreamSession(socket, self.url, self.sleep)
        try:
            try:
                async with asyncio.timeout(self.timeout):
                    await session.join(joining)
            except TimeoutError:
                raise session.ended("did not complete the handshake in time") from None
            yield session
        finally:
            await session.close()

    async def _socket(
        self, request: Request, query: dict[str, Secret | str]
    ) -> aiohttp.ClientWebSocketResponse:
        try:
            return await self.driver.open_websocket(request, query)
        except BloqApiError as refused:
            if refused.status not in (401, 403):
                raise
            # The body, which could tell what a 403 is about, is not available here.
            failure = StreamEnded(str(refused), is_about_token=True, url=self.url)
        raise failure


class StreamSession:
    """An open connection, returned by :meth:`StreamEndpoint.session`.

    :param socket: The WebSocket.
    :param url: Its URL, for errors.
    :param sleep: Waits a number of seconds between heartbeats.
    """

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, url: str, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._socket = socket
        self._url = url
        self._sleep = sleep
        self._early: deque[StreamEvent] = deque()
        self._answered = asyncio.Event()
        self._heartbeat: asyncio.Task[None] | None = None

    async def join(self, joining: Iterable[str]) -> None:
        """Wait for the handshake, join rooms, and wait until the server has read all of it.

        :param joining: The packets that join the rooms.
        :raises StreamEnded: The server refuses the connection.
        """
        handshake = await self._next()
        if not isinstance(handshake, StreamHandshake):
            raise self.ended("does not begin with a handshake")
        while await self._next() is not Signal.CONNECTED:
            pass
        # Acknowledgements are optional. But packets are handled in order: the answer to a ping shows that
        # everything before it has arrived.
        for packet in (*joining, PING):
            await self._send(packet)
        while (answer := await self._next()) is not Signal.PONG:
            if isinstance(answer, StreamEvent):
                self._early.append(answer)
        self._heartbeat = asyncio.create_task(self._send_heartbeats(handshake))

    async def events(self) -> AsyncIterator[StreamEvent]:
        """Yield the events in order.

        :raises StreamEnded: The connection ended.
        """
        while self._early:
            yield self._early.popleft()
        while True:
            packet = await self._next()
            if isinstance(packet, StreamEvent):
                yield packet

    async def close(self) -> None:
        """Close the connection."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            await asyncio.wait([self._heartbeat])
        await self._socket.close()

    def ended(self, how: str, *, is_about_token: bool = False) -> StreamEnded:
        """Return the error for the end of this connection.

        :param how: What the stream did.
        :param is_about_token: Whether the token was refused or has expired.
        """
        return StreamEnded(f"The stream at {self._url} {how}", is_about_token=is_about_token, url=self._url)

    async def _next(self) -> StreamPacket:
        """Read the next packet.

        :raises StreamEnded: It ends the connection, or there is none.
        """
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise self.ended("ended the connection")
        try:
            packet = read_packet(message.data)
        except ValueError as error:
            raise self.ended(f"sent something other than Socket.IO 2: {error}") from None
        match packet:
            case Signal.PONG:
                self._answered.set()
            case Signal.CLOSED | Signal.DISCONNECTED:
                raise self.ended("ended the connection")
            case StreamRefusal(is_about_token=is_about_token):
                why = "refuses the token" if is_about_token else "refuses this client"
                raise self.ended(why, is_about_token=is_about_token)
            case StreamEvent() if is_token_expiry(packet):
                raise self.ended("ended the connection: the token has expired", is_about_token=True)
        return packet

    async def _send(self, packet: str) -> None:
        try:
            await self._socket.send_str(packet)
        except (ConnectionError, aiohttp.ClientError):
            failure = self.ended("ended the connection")
        else:
            return
        raise failure

    async def _send_heartbeats(self, handshake: StreamHandshake) -> None:
        """Ping at the server's interval. If it does not answer, close the socket, which ends the reading as well."""
        with suppress(StreamEnded, TimeoutError):
            while True:
                await self._sleep(handshake.ping_interval)
                self._answered.clear()
                await self._send(PING)
                async with asyncio.timeout(handshake.ping_timeout):
                    await self._answered.wait()
        await self._socket.close()
