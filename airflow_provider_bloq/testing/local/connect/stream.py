"""One connection of the stream, whatever carries it: HTTP polls, or a WebSocket."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.connect.chain import ChainChanges, UtxoChain
from airflow_provider_bloq.testing.local.connect.index import IndexedBlock, IndexedTransaction
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
from airflow_provider_bloq.testing.local.connect.views import coins
from airflow_provider_bloq.testing.local.options import LocalBloqOptions
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.tokens import Grant

__all__ = [
    "EXPIRED",
    "INV",
    "SocketSession",
    "SocketSessions",
    "events_of",
    "rooms_of",
]


#: The room of all transactions and blocks.
INV = "inv"


class SocketSession:
    """A connection from its opening to its end.

    :param sid: Its id, which is a credential.
    :param chain: Which chain it is about.
    :param grant: What its token stands for.
    :param opened_at: When it was opened, by the service's clock.
    :param alive_at: When its client last showed a sign of life, by the event loop's clock.
    """

    def __init__(self, sid: str, chain: str, grant: Grant, opened_at: float, alive_at: float) -> None:
        self.sid = sid
        self.chain = chain
        self.grant = grant
        self.opened_at = opened_at
        self.alive_at = alive_at
        #: What it subscribed to: :data:`INV` and addresses.
        self.rooms: set[str] = set()
        #: Whether a WebSocket carries it.
        self.on_websocket = False
        #: Whether a WebSocket is about to take over; polls then end at once.
        self.probing = False
        #: Whether a poll is under way.
        self.polled = False
        #: Whether it has ended; what is still to be sent may be sent.
        self.ended = False
        #: Whether its TCP connection is to be cut without a word.
        self.severed = False
        self._outgoing: list[str] = []
        self._stirred = asyncio.Event()

    def send(self, *packets: str) -> None:
        """Have packets sent, unless it has ended."""
        if not self.ended:
            self._outgoing += packets
            self._stirred.set()

    def end(self, *last_words: str) -> None:
        """End it after some last packets."""
        self.send(*last_words)
        self.ended = True
        self._stirred.set()

    def sever(self) -> None:
        """End it like a cable that is pulled."""
        self._outgoing.clear()
        self.severed = True
        self.end()

    def may_be_taken_over(self) -> bool:
        """Tell whether polls carry it, and no WebSocket is about to."""
        return not (self.on_websocket or self.probing or self.ended)

    def probe(self) -> None:
        """Note that a WebSocket is about to take over."""
        self.probing = True
        self._stirred.set()

    def upgrade(self) -> None:
        """Note that a WebSocket has taken over."""
        self.on_websocket, self.probing = True, False

    def stay(self) -> None:
        """Note that a WebSocket that was to take over is gone."""
        self.probing = False

    def join(self, rooms: Iterable[str]) -> None:
        """Subscribe to rooms."""
        self.rooms.update(rooms)

    def leave(self, rooms: Iterable[str]) -> None:
        """Unsubscribe from rooms."""
        self.rooms.difference_update(rooms)

    async def take(self) -> list[str]:
        """Wait until there is something to send, or reason not to wait, and return it."""
        while not (self._outgoing or self.ended or self.probing):
            self._stirred.clear()
            await self._stirred.wait()
        taken, self._outgoing = self._outgoing, []
        return taken


_ADDRESSES = "bitcoind/addresstxid"


def rooms_of(arguments: Iterable[Any]) -> list[str]:
    """Return the rooms that ``subscribe`` and its arguments name.

    ``inv``, ``bitcoind/addresstxid`` with a list of addresses or one, or an address as the name of a room.
    """
    name, *rest = [*arguments, None]
    addresses = rest[0]
    if not isinstance(name, str):
        return []
    if name != _ADDRESSES:
        return [name]
    named = [addresses] if isinstance(addresses, str) else addresses
    return [one for one in named if isinstance(one, str)] if isinstance(named, list) else []


def events_of(
    subject: IndexedTransaction | IndexedBlock, rooms: frozenset[str] | set[str], options: LocalBloqOptions
) -> Iterator[str]:
    """Write the events by which a connection in these rooms learns of a transaction or a block."""
    if isinstance(subject, IndexedBlock):
        if INV in rooms:
            yield event_packet("block", subject.hash)
        return
    if INV in rooms:
        yield event_packet("tx", _invitation(subject))
    for address in sorted(subject.addresses & rooms):
        if options.connect_address_event == "txid":
            yield event_packet(address, subject.txid)
        else:
            yield event_packet(address, {"address": address, "txid": subject.txid})


def _invitation(transaction: IndexedTransaction) -> dict[str, Any]:
    return {
        "txid": transaction.txid,
        "valueOut": coins(transaction.value_out()),
        "vout": [{output.address: output.satoshi} for output in transaction.outputs if output.address],
        "isRBF": transaction.replaceable,
    }


_log = logging.getLogger(__name__)

#: Why a connection ends when its token does.
EXPIRED = "jwt expired"
#: Seconds between two looks at the node, which does not tell of its own accord, and at the clock.
_PAUSE = 0.05


class SocketSessions:
    """The connections of one running service. Touched on the event loop only."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._chains: Mapping[str, UtxoChain] = {}
        self._sessions: dict[str, SocketSession] = {}
        self._held: list[tuple[str, ChainChanges]] | None = None
        #: Chains whose node did not answer at the last look.
        self._deaf: set[str] = set()
        self._watching: asyncio.Task[None] | None = None

    def follow(self, chains: Mapping[str, UtxoChain]) -> None:
        """Name the chains that are looked at while somebody listens."""
        self._chains = chains

    def open(self, chain: str, grant: Grant, upgrades: list[str]) -> SocketSession:
        """Open a connection and greet it.

        :param upgrades: Names of the ways to carry it that it may change to.
        """
        options = self._backend.options
        session = SocketSession(
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

    def find(self, sid: str) -> SocketSession | None:
        """Return the connection of an id, until it was forgotten."""
        return self._sessions.get(sid)

    def forget(self, session: SocketSession) -> None:
        """Let go of a connection."""
        session.end()
        self._sessions.pop(session.sid, None)

    def received(self, session: SocketSession, packet: str) -> None:
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

    def tell(self, chain: str, news: ChainChanges) -> None:
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

    def _heard(self, session: SocketSession, packet: SocketPacket) -> None:
        if packet.namespace != ROOT:
            # Nobody is in another namespace, so what else is said there is not heard.
            if packet.kind == "0":
                session.send(error_packet("Invalid namespace", packet.namespace))
        elif packet.kind == "1":
            session.end()
        elif packet.kind == "2":
            self._asked(session, packet)

    def _asked(self, session: SocketSession, packet: SocketPacket) -> None:
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
