"""A client of Socket.IO 2 over Engine.IO 3, written from the protocols alone: it shares no code with the service.

By WebSocket, by polls, or by polls and then by WebSocket, as the stock JavaScript client does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import aiohttp

#: Seconds after which a test is stuck, however slow the machine.
PATIENCE = 60.0

Transport = Literal["websocket", "polling", "upgrade"]


class Hung(Exception):
    """The service ended the connection."""


class EngineClient:
    """One connection; what comes in is kept until a test asks for it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, query: dict[str, str]) -> None:
        self._session = session
        self._url = f"{url}/socket.io/"
        self._query = {"EIO": "3", **query}
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._arrived: list[str] = []
        self._acknowledged = 0
        self.handshake: dict[str, Any] = {}

    async def open(self, transport: Transport) -> None:
        """Connect and read the handshake."""
        if transport == "websocket":
            self._socket = await self._connected()
        else:
            self._arrived += await self._polled()
        opening = await self.packet()
        assert opening[0] == "0", opening
        self.handshake = json.loads(opening[1:])
        self._query["sid"] = self.handshake["sid"]
        if transport == "upgrade":
            await self._upgrade()

    async def packet(self) -> str:
        """Return the next packet of Engine.IO.

        :raises Hung: There is none, and will be none.
        """
        async with asyncio.timeout(PATIENCE):
            while not self._arrived:
                self._arrived += await (self._heard() if self._socket else self._polled())
            first = self._arrived.pop(0)
        if first == "1":
            raise Hung
        return first

    async def event(self) -> list[Any]:
        """Return the next event: its name and its arguments."""
        while True:
            packet = await self.packet()
            if packet.startswith("42"):
                event: list[Any] = json.loads(packet[2:])
                return event

    async def emit(self, *event: Any) -> None:
        """Send an event and wait until the service has acted on it."""
        number = self._acknowledged
        self._acknowledged += 1
        await self.send(f"42{number}{json.dumps(event)}")
        put_off = []
        while (packet := await self.packet()) != f"43{number}[]":
            put_off.append(packet)
        self._arrived = put_off + self._arrived

    async def send(self, packet: str) -> None:
        """Send a packet of Engine.IO."""
        if self._socket:
            await self._socket.send_str(packet)
            return
        # Only texts of the basic plane are sent here, whose length is the same everywhere.
        async with self._session.post(
            self._url, params=self._polling(), data=f"{len(packet)}:{packet}"
        ) as answer:
            assert (answer.status, await answer.text()) == (200, "ok")

    async def end(self) -> list[str]:
        """Return all packets until the service ends the connection."""
        packets = []
        try:
            while True:
                packets.append(await self.packet())
        except (Hung, aiohttp.ClientError):
            return packets

    async def close(self) -> None:
        """Take leave, of a service that may have gone before."""
        if self._socket:
            await self._socket.close()
            return
        params = self._polling()
        async with self._session.post(self._url, params=params, data="1:1") as answer:
            assert answer.status in (200, 400)

    def _polling(self) -> dict[str, str]:
        return {**self._query, "transport": "polling"}

    async def _connected(self) -> aiohttp.ClientWebSocketResponse:
        return await self._session.ws_connect(self._url, params={**self._query, "transport": "websocket"})

    async def _heard(self) -> list[str]:
        assert self._socket is not None
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise Hung
        return [message.data]

    async def _polled(self) -> list[str]:
        async with self._session.get(self._url, params=self._polling()) as answer:
            body = await answer.text()
            if answer.status != 200:
                raise Hung(body)
        packets = []
        while body:
            length, _, rest = body.partition(":")
            packets.append(rest[: int(length)])
            body = rest[int(length) :]
        return packets

    async def _upgrade(self) -> None:
        socket = await self._connected()
        polling = asyncio.create_task(self._polled())
        await socket.send_str("2probe")
        assert (await socket.receive_str(timeout=PATIENCE)) == "3probe"
        # The service lets the poll go, which would else wait for news.
        self._arrived += [packet for packet in await polling if packet != "6"]
        await socket.send_str("5")
        self._socket = socket


@asynccontextmanager
async def engine_client(
    url: str, token: str | None, transport: Transport = "websocket", host: str | None = None
) -> AsyncIterator[EngineClient]:
    """Connect with a token, and disconnect at the end."""
    headers = {"Host": host} if host else {}
    async with aiohttp.ClientSession(headers=headers) as session:
        client = EngineClient(session, url, {} if token is None else {"token": token})
        await client.open(transport)
        yield client
        await client.close()
