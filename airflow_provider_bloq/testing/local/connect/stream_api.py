"""The route of the stream: Socket.IO 2 over Engine.IO 3, by HTTP polls or by WebSocket.

Like Bloq, it does not support Engine.IO 4. In faults and counters the service is ``stream``, and the path of a request
is ``/socket.io/open`` if it opens a connection, and otherwise ``/socket.io/``.
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
#: Seconds that a client may take to confirm that a WebSocket is closed.
_CLOSE_TIMEOUT = 1.0
#: Faults that break the body of an answer; a WebSocket has none.
_BODY_FAULTS = frozenset({FaultKind.STALL_BODY, FaultKind.TRUNCATED_JSON, FaultKind.LOST_RESPONSE})


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
        """Serve a request; for a WebSocket, until it is closed."""
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
                answer = await apply_fault(_fault_for(armed, request), request, self.backend, proceed)
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
            return await self._upgrade(request, session)
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
            return await self._reject(request, transport, problem)
        chain = self.access.chain(request)
        # The events begin after the current state.
        await chain.now()
        session = self.sessions.open(chain.name, grant, [_WEBSOCKET] if transport == _POLLING else [])
        if transport == _POLLING:
            return await self._poll(request, session)
        session.upgrade()
        socket = await self._websocket(request, _OPENING)
        await self._serve_websocket(socket, request, session)
        return socket

    async def _reject(
        self, request: web.Request, transport: str, problem: ApiProblem
    ) -> web.Response | web.WebSocketResponse:
        """Reject a token as Socket.IO does: the connection opens and gets an error packet."""
        options = self.backend.options
        reason = EXPIRED if problem.code == "TokenExpired" else problem.detail
        packets = [
            open_packet("refused", [], options.connect_ping_seconds, options.connect_ping_timeout_seconds),
            error_packet(reason),
        ]
        if transport == _POLLING:
            return _payload([*packets, CLOSE])
        socket = await self._websocket(request, _OPENING)
        with suppress(ConnectionError):
            for packet in packets:
                await socket.send_str(packet)
        await socket.close()
        return socket

    async def _poll(self, request: web.Request, session: SocketSession) -> web.Response:
        if session.polled or session.on_websocket:
            self.sessions.remove(session)
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
            self.sessions.remove(session)
            packets.append(CLOSE)
        return _payload(packets or [NOOP])

    async def _post(self, request: web.Request, session: SocketSession) -> web.Response:
        try:
            packets = read_payload(await body_of(request))
        except (ValueError, ApiProblem):
            self.sessions.remove(session)
            return _refused(3, "Bad request")
        for packet in packets:
            self.sessions.received(session, packet)
        return web.Response(text="ok", content_type="text/html")

    async def _upgrade(
        self, request: web.Request, session: SocketSession
    ) -> web.Response | web.WebSocketResponse:
        """Upgrade a connection from polls to a WebSocket, unless the client gives up."""
        if not session.can_upgrade():
            return _refused(3, "Bad request")
        socket = await self._websocket(request, _PATH)
        async for message in socket:
            if message.data == PING + _PROBE:
                session.probe()
                await socket.send_str(PONG + _PROBE)
            elif message.data == UPGRADE and session.probing:
                session.upgrade()
                await self._serve_websocket(socket, request, session)
            else:
                break
        if not session.on_websocket:
            session.cancel_upgrade()
            await socket.close()
        return socket

    async def _serve_websocket(
        self, socket: web.WebSocketResponse, request: web.Request, session: SocketSession
    ) -> None:
        sending = asyncio.create_task(_send_all(socket, request, session))
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                self.sessions.received(session, message.data)
        finally:
            self.sessions.remove(session)
            await sending

    async def _websocket(self, request: web.Request, path: str) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=_CLOSE_TIMEOUT)
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


def _fault_for(armed: ArmedFault, request: web.Request) -> ArmedFault:
    if request.query.get("transport") == _WEBSOCKET and armed.fault.kind in _BODY_FAULTS:
        return replace(armed, fault=replace(armed.fault, kind=FaultKind.RESET))
    return armed


def _payload(packets: list[str]) -> web.Response:
    return web.Response(text=write_payload(packets), content_type="text/plain", charset="UTF-8")


def _refused(code: int, message: str) -> web.Response:
    # The format of Engine.IO's errors.
    return web.json_response({"code": code, "message": message}, status=400)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
