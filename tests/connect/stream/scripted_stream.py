"""A scripted server of the stream, over real WebSockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import WSMsgType, web

from airflow_provider_bloq.connect.stream import StreamEndpoint
from tests.support.drivers import PATIENT, awaiting_driver

__all__ = ["HANDSHAKE", "WELCOME", "Conversation", "Script", "scripted_stream", "welcomed"]

HANDSHAKE = '0{"sid":"a-session-id","upgrades":[],"pingInterval":25000,"pingTimeout":60000}'
WELCOME = "40"


class Conversation:
    """The server's side of one connection."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.socket = socket
        self.request = request
        self.heard: list[str] = []

    async def say(self, *packets: str) -> None:
        for packet in packets:
            await self.socket.send_str(packet)

    async def hear(self) -> str:
        message = await self.socket.receive()
        if message.type is not WSMsgType.TEXT:
            raise ConnectionError("the client is gone")
        self.heard.append(message.data)
        return self.heard[-1]

    async def until_gone(self) -> None:
        """Read without answering until the client closes the connection."""
        while True:
            try:
                await self.hear()
            except ConnectionError:
                return


Script = Callable[[Conversation], Awaitable[None]]


async def welcomed(conversation: Conversation, handshake: str = HANDSHAKE) -> None:
    """Complete the handshake, and answer the ping that ends the joining."""
    await conversation.say(handshake, WELCOME)
    while await conversation.hear() != "2":
        pass
    await conversation.say("3")


@asynccontextmanager
async def scripted_stream(
    script: Script, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep, timeout: float = 30.0
) -> AsyncIterator[StreamEndpoint]:
    """Serve a script; yields an endpoint for it."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=1.0)
        await socket.prepare(request)
        await script(Conversation(socket, request))
        await socket.close()
        return socket

    async with serving(serve) as url:
        driver = awaiting_driver(PATIENT)
        try:
            yield StreamEndpoint(driver, url, None, timeout, sleep)
        finally:
            await driver.close()


@asynccontextmanager
async def serving(
    serve: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """Serve the path of the stream with a function; yields its URL."""
    application = web.Application()
    application.router.add_get("/socket.io/", serve)
    runner = web.AppRunner(application, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port, *_ = runner.addresses[0]
        yield f"http://{host}:{port}/socket.io/"
    finally:
        await runner.cleanup()
