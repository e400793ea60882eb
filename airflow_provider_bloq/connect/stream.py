"""When a listener to the stream that lost its connection tries again. Nothing here waits or connects."""

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
    ends_token,
    is_block,
    read_packet,
    subscriptions,
    txid_in,
)
from airflow_provider_bloq.exceptions import BloqApiError, BloqError, BloqUnavailable, BloqUnsafeAddress
from airflow_provider_bloq.flow.async_driver import AsyncDriver
from airflow_provider_bloq.flow.backoff import BackoffSettings, advice_on
from airflow_provider_bloq.flow.effects import AsyncRunner, Request

__all__ = [
    "RECONNECTING",
    "STEADY",
    "ChainUpdates",
    "Listener",
    "ReconnectingStream",
    "StreamEnded",
    "StreamEndpoint",
    "StreamRecord",
    "StreamSession",
]


#: Seconds that a connection must have lasted to make up for the failures before it. One that ends sooner may be
#: let in and thrown out for ever.
STEADY = 10.0


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """What went wrong since the last connection that lasted.

    :param failures: Connections that ended or did not come about, for another reason than the token.
    :param refusals: Connections that ended or did not come about because of the token.
    """

    failures: int = 0
    refusals: int = 0

    def after(self, *, lasted: float, is_about_token: bool) -> StreamRecord:
        """Return the record after the end of another connection.

        :param lasted: Seconds from its coming in to its end; 0 where it did not come in.
        :param is_about_token: Whether its token was the reason.
        """
        before = StreamRecord() if lasted >= STEADY else self
        if is_about_token:
            return StreamRecord(before.failures, before.refusals + 1)
        return StreamRecord(before.failures + 1, before.refusals)

    @property
    def may_try_at_once(self) -> bool:
        """Whether a fresh token is all that is needed: as often as for any request, and no oftener."""
        return 0 < self.refusals <= MAX_REPLACEMENTS

    @property
    def is_hopeless(self) -> bool:
        """Whether tokens that were made for the purpose have been refused again and again."""
        return self.refusals > MAX_REPLACEMENTS


class StreamEnded(BloqUnavailable):
    """A connection of the stream came to its end, or did not come about.

    :param is_about_token: Whether because the token is not, or no longer, good.
    """

    def __init__(self, message: str, *, is_about_token: bool = False, url: str | None = None) -> None:
        self.is_about_token = is_about_token
        super().__init__(message, acted=False, method="GET", url=url)


@dataclass(frozen=True, slots=True)
class StreamEndpoint:
    """Where connections of a chain's stream are opened.

    :param driver: Opens them under the rules of all requests.
    :param url: The stream's URL, without a query.
    :param host: What the Host header says, where the URL does not tell the chain.
    :param timeout: Seconds that it may take to come in.
    :param sleep: Lets seconds pass between two heartbeats.
    """

    driver: AsyncDriver
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
        self._early: deque[StreamEvent] = deque()
        self._answered = asyncio.Event()
        self._heart: asyncio.Task[None] | None = None

    async def come_in(self, joining: Iterable[str]) -> None:
        """Wait for the welcome, join rooms, and wait until the server has heard of them all.

        :param joining: The packets that join the rooms.
        :raises StreamEnded: The server does not let it in.
        """
        handshake = await self._next()
        if not isinstance(handshake, StreamHandshake):
            raise self.ended("does not begin with a handshake")
        while await self._next() is not Signal.CONNECTED:
            pass
        # Acknowledgements are the handlers' business and may never come. But packets are taken in order: the
        # answer to a ping says that what was sent before it has arrived.
        for joined in (*joining, PING):
            await self._send(joined)
        while (packet := await self._next()) is not Signal.PONG:
            if isinstance(packet, StreamEvent):
                self._early.append(packet)
        self._heart = asyncio.create_task(self._beat(handshake))

    async def events(self) -> AsyncIterator[StreamEvent]:
        """Give the events, in their order.

        :raises StreamEnded: There will be no more.
        """
        while self._early:
            yield self._early.popleft()
        while True:
            packet = await self._next()
            if isinstance(packet, StreamEvent):
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

    async def _next(self) -> StreamPacket:
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
            case Signal.PONG:
                self._answered.set()
            case Signal.CLOSED | Signal.DISCONNECTED:
                raise self.ended("ended the connection")
            case StreamRefusal(is_about_token=is_about_token):
                why = "refuses the token" if is_about_token else "does not let this client in"
                raise self.ended(why, is_about_token=is_about_token)
            case StreamEvent() if ends_token(packet):
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

    async def _beat(self, handshake: StreamHandshake) -> None:
        """Ping as the server wants it, and hang up when it does not answer: who reads learns of it so."""
        with suppress(StreamEnded, TimeoutError):
            while True:
                await self._sleep(handshake.ping_interval)
                self._answered.clear()
                await self._send(PING)
                async with asyncio.timeout(handshake.ping_timeout):
                    await self._answered.wait()
        await self._socket.close()


log = logging.getLogger(__name__)

#: After one failure half a second to one passes until the next try; it doubles, up to five minutes.
RECONNECTING = BackoffSettings(first=1.0, cap=300.0)
#: Seconds between two tries where only a person can mend what is wrong, such as a stream that there is not.
SELDOM = 900.0


class Listener(Protocol):
    """Who listens. Its methods take note and return; what is to be done is done elsewhere."""

    def joined(self) -> None:
        """Take note that from here on all is heard, and that before something may have been missed."""

    def heard(self, event: StreamEvent) -> None:
        """Take note of an event."""


@dataclass(frozen=True, slots=True)
class ReconnectingStream:
    """Keeps listeners connected.

    :param door: Where the stream is.
    :param bearer: Gives tokens, and knows whom they may be shown.
    :param run: Drives flows.
    :param backoff: How long it waits before it connects again.
    :param sleep: Lets seconds pass before it does.
    :param random: Gives a number from 0 to 1, for the jitter.
    """

    door: StreamEndpoint
    bearer: BearerAuth
    run: AsyncRunner
    backoff: BackoffSettings = RECONNECTING
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = field(default=random.random, repr=False)

    @asynccontextmanager
    async def led(self, listener: Listener, joining: Sequence[str]) -> AsyncIterator[None]:
        """Keep a listener connected for the time of a ``with`` block. Does not wait until it is.

        :param listener: Who listens.
        :param joining: The packets that join its rooms.
        :raises BloqUnsafeAddress: The token may not be shown there.
        """
        if not self.bearer.origins.covers(self.door.url):
            raise BloqUnsafeAddress(f"{self.door.url} is at no origin that the access token may be shown to.")
        living = asyncio.create_task(self._live(listener, joining))
        try:
            yield
        finally:
            living.cancel()
            await asyncio.wait([living])

    async def _live(self, listener: Listener, joining: Sequence[str]) -> None:
        record = StreamRecord()
        while True:
            lasted, error = await self._one_connection(listener, joining, record)
            is_about_token = isinstance(error, StreamEnded) and error.is_about_token
            record = record.after(lasted=lasted, is_about_token=is_about_token)
            if is_about_token and record.may_try_at_once:
                log.info("%s Connecting again with another token.", error)
                continue
            pause = self._pause(error, record)
            # What is none of Bloq's errors may quote anything, and is told by its class alone.
            told = str(error) if isinstance(error, BloqError) else type(error).__name__
            log.warning("The stream is not heard for %.0f s, REST goes on: %s", pause, told)
            await self.sleep(pause)

    async def _one_connection(
        self, listener: Listener, joining: Sequence[str], record: StreamRecord
    ) -> tuple[float, Exception]:
        """Listen until the connection ends.

        :return: For how many seconds it lasted, and why it ended.
        """
        clock = asyncio.get_running_loop().time
        since: float | None = None
        try:
            token = (await self.run(self.bearer.provider.token())).secret
            try:
                async with self.door.session(token, joining) as session:
                    since = clock()
                    listener.joined()
                    async for event in session.events():
                        listener.heard(event)
                raise session.ended("ended the connection")
            except StreamEnded as end:
                if end.is_about_token:
                    await self.run(
                        self.bearer.provider.replace_refused(token, at_first_use=record.refusals > 0)
                    )
                raise
        except Exception as error:
            return 0.0 if since is None else clock() - since, error

    def _pause(self, error: Exception, record: StreamRecord) -> float:
        jitter = self.random()
        if record.is_hopeless:
            return SELDOM
        advice = advice_on(error, record.failures, jitter, self.backoff)
        if advice is None:
            return self.backoff.pause(record.failures, jitter)
        return SELDOM if advice.pause is None else advice.pause


class ChainUpdates:
    """Tells when there is reason to look: a new block, or a connection that may have missed one.

    A help and no more. What is looked at and found is decided over REST, and where the stream cannot be reached,
    every wait lasts as long as it may. Use it in ``async with``; it has one connection of its own.

    :param life: Keeps it connected.
    :param addresses: Whose transactions are reason to look as well.
    """

    def __init__(self, life: ReconnectingStream, addresses: tuple[str, ...] = ()) -> None:
        self._life = life
        self._addresses = addresses
        self._stirred = asyncio.Event()
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._opened.enter_async_context(self._life.led(self, subscriptions(self._addresses)))
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._opened.aclose()

    async def wait(self, timeout: float | None) -> bool:
        """Wait for news. What came since the last wait counts, all of it as one.

        :param timeout: Seconds to wait at most; None for ever.
        :return: Whether there were any.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._stirred.wait()
        except TimeoutError:
            return False
        self._stirred.clear()
        return True

    def joined(self) -> None:
        """See :meth:`Listener.joined`."""
        self._stirred.set()

    def heard(self, event: StreamEvent) -> None:
        """See :meth:`Listener.heard`."""
        if is_block(event) or txid_in(event) is not None:
            self._stirred.set()
