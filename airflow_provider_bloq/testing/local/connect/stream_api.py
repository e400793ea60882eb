"""The stream's one route: Engine.IO 3, by HTTP polls or by WebSocket, with Socket.IO 2 inside.

Engine.IO 4 is not spoken, as Bloq did not. Faults and counts call the service ``stream``; a request that opens a
connection is ``/socket.io/open`` to them, all others are ``/socket.io/``.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace

from aiohttp import WSMsgType, web

from airflow_provider_bloq.testing.local.authentication import ANY_ACCESS, bearer_grant
from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.connect.access import ChainAccess
from airflow_provider_bloq.testing.local.connect.packets import (
    CLOSE,
    NOOP,
    PING,
    PONG,
    UPGRADE,
    error_packet,
    open_packet,
    read_payload,
    write_payload,
)
from airflow_provider_bloq.testing.local.connect.stream import EXPIRED, SocketSession, SocketSessions
from airflow_provider_bloq.testing.local.fault_actions import NoResponse, apply_fault
from airflow_provider_bloq.testing.local.faults import ArmedFault, FaultKind
from airflow_provider_bloq.testing.local.inbound import body_of
from airflow_provider_bloq.testing.local.problems import ApiProblem, problem_response

__all__ = [
    "StreamRoutes",
]


_SERVICE = "stream"
_PATH = "/socket.io/"
_OPENING = "/socket.io/open"
_PROBE = "probe"
_WEBSOCKET, _POLLING = "websocket", "polling"
#: Seconds that a client may take to agree that a WebSocket is closed.
_FAREWELL = 1.0
#: Faults that break an answer's body, of which a WebSocket has none.
_OF_BODIES = frozenset({FaultKind.STALL_BODY, FaultKind.TRUNCATED_JSON, FaultKind.LOST_RESPONSE})


@dataclass(frozen=True, slots=True)
class StreamRoutes:
    """The route of the stream."""

    backend: Backend
    access: ChainAccess
    sessions: SocketSessions

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.get(_PATH, self.serve), web.post(_PATH, self.serve)]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one request, which for a WebSocket lasts as long as that."""
        if token := request.query.get("token"):
            self.backend.counters.arrived(_SERVICE, f"Bearer {token}")
        path = _PATH if "sid" in request.query else _OPENING
        sockets: list[web.WebSocketResponse] = []

        async def proceed() -> web.Response:
            answer = await self._answer(request)
            if isinstance(answer, web.Response):
                return answer
            sockets.append(answer)
            return NoResponse()

        armed = self.backend.faults.take(_SERVICE, request.method, path)
        try:
            if armed is None:
                answer = await proceed()
            else:
                answer = await apply_fault(_fitting(armed, request), request, self.backend, proceed)
        except ApiProblem as problem:
            answer = problem_response(problem, self.backend.options)
        if sockets:
            return sockets[0]
        status = None if isinstance(answer, NoResponse) else answer.status
        self.backend.counters.answered(_SERVICE, request.method, path, status)
        return answer

    async def _answer(self, request: web.Request) -> web.Response | web.WebSocketResponse:
        query = request.query
        if query.get("EIO", "3") != "3":
            return _refused(5, "Unsupported protocol version")
        transport = query.get("transport")
        if transport not in (_POLLING, _WEBSOCKET) or "j" in query:
            return _refused(0, "Transport unknown")
        if transport == _WEBSOCKET and not web.WebSocketResponse().can_prepare(request).ok:
            return _refused(3, "Bad request")
        if "sid" not in query:
            return await self._open(request, transport)
        session = self.sessions.find(query["sid"])
        if session is None:
            return _refused(1, "Session ID unknown")
        if transport == _WEBSOCKET:
            return await self._take_over(request, session)
        return await (
            self._poll(request, session) if request.method == "GET" else self._post(request, session)
        )

    async def _open(self, request: web.Request, transport: str) -> web.Response | web.WebSocketResponse:
        if request.method != "GET":
            return _refused(2, "Bad handshake method")
        try:
            header = f"Bearer {request.query.get('token', '')}"
            grant = bearer_grant(self.backend, header, ANY_ACCESS)
        except ApiProblem as problem:
            if self.backend.options.connect_stream_refusal == "status":
                raise
            return await self._turn_away(request, transport, problem)
        chain = self.access.chain(request)
        # What is there already is no news.
        await chain.now()
        session = self.sessions.open(chain.name, grant, [_WEBSOCKET] if transport == _POLLING else [])
        if transport == _POLLING:
            return await self._poll(request, session)
        session.upgrade()
        socket = await self._websocket(request, _OPENING)
        await self._carry(socket, request, session)
        return socket

    async def _turn_away(
        self, request: web.Request, transport: str, problem: ApiProblem
    ) -> web.Response | web.WebSocketResponse:
        """Refuse as Socket.IO does: the connection opens, and is told an error in place of a welcome."""
        options = self.backend.options
        reason = EXPIRED if problem.code == "TokenExpired" else problem.detail
        said = [
            open_packet("refused", [], options.connect_ping_seconds, options.connect_ping_timeout_seconds),
            error_packet(reason),
        ]
        if transport == _POLLING:
            return _payload([*said, CLOSE])
        socket = await self._websocket(request, _OPENING)
        with suppress(ConnectionError):
            for packet in said:
                await socket.send_str(packet)
        await socket.close()
        return socket

    async def _poll(self, request: web.Request, session: SocketSession) -> web.Response:
        if session.polled or session.on_websocket:
            self.sessions.forget(session)
            return _refused(3, "Bad request")
        session.polled = True
        try:
            packets = await session.take()
        finally:
            session.polled = False
        if session.severed:
            _cut(request)
            return NoResponse()
        if session.ended:
            self.sessions.forget(session)
            packets.append(CLOSE)
        return _payload(packets or [NOOP])

    async def _post(self, request: web.Request, session: SocketSession) -> web.Response:
        try:
            packets = read_payload(await body_of(request))
        except (ValueError, ApiProblem):
            self.sessions.forget(session)
            return _refused(3, "Bad request")
        for packet in packets:
            self.sessions.received(session, packet)
        return web.Response(text="ok", content_type="text/html")

    async def _take_over(
        self, request: web.Request, session: SocketSession
    ) -> web.Response | web.WebSocketResponse:
        """Take a connection over from polls, if the client goes through with it."""
        if not session.may_be_taken_over():
            return _refused(3, "Bad request")
        socket = await self._websocket(request, _PATH)
        async for message in socket:
            if message.data == PING + _PROBE:
                session.probe()
                await socket.send_str(PONG + _PROBE)
            elif message.data == UPGRADE and session.probing:
                session.upgrade()
                await self._carry(socket, request, session)
            else:
                break
        if not session.on_websocket:
            session.stay()
            await socket.close()
        return socket

    async def _carry(
        self, socket: web.WebSocketResponse, request: web.Request, session: SocketSession
    ) -> None:
        sending = asyncio.create_task(_send_all(socket, request, session))
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                self.sessions.received(session, message.data)
        finally:
            self.sessions.forget(session)
            await sending

    async def _websocket(self, request: web.Request, path: str) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=_FAREWELL)
        await socket.prepare(request)
        self.backend.counters.answered(_SERVICE, request.method, path, 101)
        return socket


async def _send_all(socket: web.WebSocketResponse, request: web.Request, session: SocketSession) -> None:
    with suppress(ConnectionError):
        while packets := await session.take():
            for packet in packets:
                await socket.send_str(packet)
    if session.severed:
        _cut(request)
    else:
        await socket.close()


def _fitting(armed: ArmedFault, request: web.Request) -> ArmedFault:
    if request.query.get("transport") == _WEBSOCKET and armed.fault.kind in _OF_BODIES:
        return replace(armed, fault=replace(armed.fault, kind=FaultKind.RESET))
    return armed


def _payload(packets: list[str]) -> web.Response:
    return web.Response(text=write_payload(packets), content_type="text/plain", charset="UTF-8")


def _refused(code: int, message: str) -> web.Response:
    # Engine.IO's own errors have a shape of their own.
    return web.json_response({"code": code, "message": message}, status=400)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
