"""All connections of the stream: who hears of what, who still may, and the levers of a test."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping

from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.connect.events import events_of, rooms_of
from airflow_provider_bloq.testing.local.connect.follower import News
from airflow_provider_bloq.testing.local.connect.packets import (
    CLOSE,
    CONNECT,
    DISCONNECT,
    MESSAGE,
    PING,
    PONG,
    ROOT,
    SocketPacket,
    acknowledgement_packet,
    error_packet,
    event_packet,
    open_packet,
    read_socket_packet,
)
from airflow_provider_bloq.testing.local.connect.session import Session
from airflow_provider_bloq.testing.local.connect.utxo_chain import UtxoChain
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.tokens import Grant

__all__ = ["EXPIRED", "Hub"]

_log = logging.getLogger(__name__)

#: Why a connection ends when its token does.
EXPIRED = "jwt expired"
#: Seconds between two looks at the node, which does not tell of its own accord, and at the clock.
_PAUSE = 0.05


class Hub:
    """The connections of one running service. Touched on the event loop only."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._chains: Mapping[str, UtxoChain] = {}
        self._sessions: dict[str, Session] = {}
        self._held: list[tuple[str, News]] | None = None
        #: Chains whose node did not answer at the last look.
        self._deaf: set[str] = set()
        self._watching: asyncio.Task[None] | None = None

    def follow(self, chains: Mapping[str, UtxoChain]) -> None:
        """Name the chains that are looked at while somebody listens."""
        self._chains = chains

    def open(self, chain: str, grant: Grant, upgrades: list[str]) -> Session:
        """Open a connection and greet it.

        :param upgrades: Names of the ways to carry it that it may change to.
        """
        options = self._backend.options
        session = Session(
            secrets.token_urlsafe(15),
            chain,
            grant,
            self._backend.clock.now(),
            asyncio.get_running_loop().time(),
        )
        greeting = open_packet(
            session.sid, upgrades, options.connect_ping_seconds, options.connect_ping_timeout_seconds
        )
        session.send(greeting, CONNECT)
        self._sessions[session.sid] = session
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        return session

    def find(self, sid: str) -> Session | None:
        """Return the connection of an id, until it was forgotten."""
        return self._sessions.get(sid)

    def forget(self, session: Session) -> None:
        """Let go of a connection."""
        session.end()
        self._sessions.pop(session.sid, None)

    def received(self, session: Session, packet: str) -> None:
        """Act on what a client sent. One that sends nonsense is hung up on."""
        session.alive_at = asyncio.get_running_loop().time()
        kind, rest = packet[:1], packet[1:]
        if kind == PING:
            session.send(PONG + rest)
        elif kind == CLOSE:
            self.forget(session)
        elif kind == MESSAGE:
            try:
                self._heard(session, read_socket_packet(rest))
            except ValueError:
                session.end()

    def tell(self, chain: str, news: News) -> None:
        """Tell all who subscribed of something new."""
        if self._held is not None:
            self._held.append((chain, news))
            return
        for session in self._sessions.values():
            if session.chain == chain:
                session.send(*events_of(news.subject, session.rooms, self._backend.options))

    def count(self) -> int:
        """Return how many connections are open."""
        return sum(not session.ended for session in self._sessions.values())

    def drop(self) -> int:
        """Cut all connections without a word; returns how many there were."""
        dropped = [session for session in self._sessions.values() if not session.ended]
        for session in dropped:
            session.sever()
            self.forget(session)
        return len(dropped)

    def hold(self) -> None:
        """Keep all events back until :meth:`release`."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """Let go of the events that were kept back, to those who are subscribed now."""
        held, self._held = self._held or [], None
        for chain, news in held:
            self.tell(chain, news)

    async def close(self) -> None:
        """End all connections."""
        for session in list(self._sessions.values()):
            self.forget(session)
        if self._watching is not None:
            await self._watching

    def _heard(self, session: Session, packet: SocketPacket) -> None:
        if packet.namespace != ROOT:
            # Nobody is in another namespace, so what else is said there is not heard.
            if packet.kind == "0":
                session.send(error_packet("Invalid namespace", packet.namespace))
        elif packet.kind == "1":
            session.end()
        elif packet.kind == "2":
            self._asked(session, packet)

    def _asked(self, session: Session, packet: SocketPacket) -> None:
        name, *arguments = packet.data if isinstance(packet.data, list) and packet.data else [None]
        if name == "subscribe":
            session.join(rooms_of(arguments))
        elif name == "unsubscribe":
            session.leave(rooms_of(arguments))
        if packet.acknowledgement is not None:
            session.send(acknowledgement_packet(packet.acknowledgement))

    async def _watch(self) -> None:
        while self._sessions:
            self._reap()
            for chain in {session.chain for session in self._sessions.values()}:
                await self._look(chain)
            await asyncio.sleep(_PAUSE)

    async def _look(self, chain: str) -> None:
        try:
            await self._chains[chain].now()
        except ApiProblem as problem:
            if chain not in self._deaf:
                _log.warning("the stream of %s hears nothing: %s", chain, problem.detail)
            self._deaf.add(chain)
        else:
            self._deaf.discard(chain)

    def _reap(self) -> None:
        options = self._backend.options
        now = self._backend.clock.now()
        silent_since = (
            asyncio.get_running_loop().time()
            - options.connect_ping_seconds
            - options.connect_ping_timeout_seconds
        )
        for session in list(self._sessions.values()):
            if session.alive_at < silent_since:
                self.forget(session)
            elif session.ended:
                continue
            elif now >= session.grant.expires_at:
                # An event of this name is the only way to give the client's own "disconnect" a reason.
                session.end(event_packet("disconnect", EXPIRED), DISCONNECT)
            elif not session.rooms and now >= session.opened_at + options.connect_idle_seconds:
                session.end(DISCONNECT)
