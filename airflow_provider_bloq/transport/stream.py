"""One connection of Connect's stream: handshake, rooms, heartbeat, events, and how it ended.

It is a WebSocket from the start, without the HTTP polls that Engine.IO may begin with. For asyncio only: whoever
blocks has the REST API. What is spoken is told in :mod:`airflow_provider_bloq.clients.stream_packets`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import aiohttp

from airflow_provider_bloq.auth.flow import Request
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.clients.stream_packets import (
    PING,
    Event,
    Handshake,
    Packet,
    Refusal,
    Sign,
    ends_token,
    read_packet,
)
from airflow_provider_bloq.exceptions import BloqApiError, BloqUnavailable
from airflow_provider_bloq.transport.awaiting import AwaitingDriver

__all__ = ["StreamDoor", "StreamEnded", "StreamSession"]


class StreamEnded(BloqUnavailable):
    """A connection of the stream came to its end, or did not come about.

    :param is_about_token: Whether because the token is not, or no longer, good.
    """

    def __init__(self, message: str, *, is_about_token: bool = False, url: str | None = None) -> None:
        self.is_about_token = is_about_token
        super().__init__(message, acted=False, method="GET", url=url)


@dataclass(frozen=True, slots=True)
class StreamDoor:
    """Where connections of a chain's stream are opened.

    :param driver: Opens them under the rules of all requests.
    :param url: The stream's URL, without a query.
    :param host: What the Host header says, where the URL does not tell the chain.
    :param timeout: Seconds that it may take to come in.
    :param sleep: Lets seconds pass between two heartbeats.
    """

    driver: AwaitingDriver
    url: str
    host: str | None
    timeout: float
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    @asynccontextmanager
    async def session(self, token: Secret, joining: Iterable[str]) -> AsyncIterator[StreamSession]:
        """Come in and join rooms, for the time of a ``with`` block.

        :param token: The access token. It rides in the query, so that the whole URL is a secret.
        :param joining: The packets that join the rooms.
        :raises StreamEnded: The server does not let it in.
        :raises BloqApiError: It does not answer as a stream.
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
                    await session.come_in(joining)
            except TimeoutError:
                raise session.ended("lets nobody in in time") from None
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
            # The body, which could tell what a 403 is about, is not to be had here.
            failure = StreamEnded(str(refused), is_about_token=True, url=self.url)
        raise failure


class StreamSession:
    """A connection that is open; made by :meth:`StreamDoor.session`.

    :param socket: Carries it.
    :param url: Where it leads, for errors.
    :param sleep: Lets seconds pass between two heartbeats.
    """

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, url: str, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._socket = socket
        self._url = url
        self._sleep = sleep
        self._early: deque[Event] = deque()
        self._answered = asyncio.Event()
        self._heart: asyncio.Task[None] | None = None

    async def come_in(self, joining: Iterable[str]) -> None:
        """Wait for the welcome, join rooms, and wait until the server has heard of them all.

        :param joining: The packets that join the rooms.
        :raises StreamEnded: The server does not let it in.
        """
        handshake = await self._next()
        if not isinstance(handshake, Handshake):
            raise self.ended("does not begin with a handshake")
        while await self._next() is not Sign.CONNECTED:
            pass
        # Acknowledgements are the handlers' business and may never come. But packets are taken in order: the
        # answer to a ping says that what was sent before it has arrived.
        for joined in (*joining, PING):
            await self._send(joined)
        while (packet := await self._next()) is not Sign.PONG:
            if isinstance(packet, Event):
                self._early.append(packet)
        self._heart = asyncio.create_task(self._beat(handshake))

    async def events(self) -> AsyncIterator[Event]:
        """Give the events, in their order.

        :raises StreamEnded: There will be no more.
        """
        while self._early:
            yield self._early.popleft()
        while True:
            packet = await self._next()
            if isinstance(packet, Event):
                yield packet

    async def close(self) -> None:
        """Take leave."""
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.wait([self._heart])
        await self._socket.close()

    def ended(self, how: str, *, is_about_token: bool = False) -> StreamEnded:
        """Make the error for its end.

        :param how: What the stream did.
        :param is_about_token: Whether its token is not good.
        """
        return StreamEnded(f"The stream at {self._url} {how}", is_about_token=is_about_token, url=self._url)

    async def _next(self) -> Packet:
        """Read the next packet.

        :raises StreamEnded: It says that this was the last one, or there is none.
        """
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise self.ended("ended the connection")
        try:
            packet = read_packet(message.data)
        except ValueError as error:
            raise self.ended(f"sent something else than Socket.IO 2: {error}") from None
        match packet:
            case Sign.PONG:
                self._answered.set()
            case Sign.CLOSED | Sign.DISCONNECTED:
                raise self.ended("ended the connection")
            case Refusal(is_about_token=is_about_token):
                why = "refuses the token" if is_about_token else "does not let this client in"
                raise self.ended(why, is_about_token=is_about_token)
            case Event() if ends_token(packet):
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

    async def _beat(self, handshake: Handshake) -> None:
        """Ping as the server wants it, and hang up when it does not answer: who reads learns of it so."""
        with suppress(StreamEnded, TimeoutError):
            while True:
                await self._sleep(handshake.ping_interval)
                self._answered.clear()
                await self._send(PING)
                async with asyncio.timeout(handshake.ping_timeout):
                    await self._answered.wait()
        await self._socket.close()
