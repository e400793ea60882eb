"""The connections of the stream, their subscriptions and the events that are sent to them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.connect.chain import ChainItem, UtxoChain
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
    """A connection, carried by HTTP polls or by a WebSocket.

    :param sid: Its id, which is a credential.
    :param chain: Its chain.
    :param grant: The grant of its token.
    :param opened_at: Time of its opening by the service's clock.
    :param alive_at: Time of its client's last packet by the event loop's clock.
    """

    def __init__(self, sid: str, chain: str, grant: Grant, opened_at: float, alive_at: float) -> None:
        self.sid = sid
        self.chain = chain
        self.grant = grant
        self.opened_at = opened_at
        self.alive_at = alive_at
        #: Its subscriptions: :data:`INV` and addresses.
        self.rooms: set[str] = set()
        #: Whether a WebSocket carries it.
        self.on_websocket = False
        #: Whether an upgrade to a WebSocket has begun; polls then end at once.
        self.probing = False
        #: Whether a poll is in progress.
        self.polled = False
        #: Whether it has ended; queued packets may still be sent.
        self.ended = False
        #: Whether its TCP connection is to be cut without notice.
        self.severed = False
        self._outgoing: list[str] = []
        self._wake = asyncio.Event()

    def send(self, *packets: str) -> None:
        """Queue packets unless it has ended."""
        if not self.ended:
            self._outgoing += packets
            self._wake.set()

    def end(self, *packets: str) -> None:
        """End it after some last packets."""
        self.send(*packets)
        self.ended = True
        self._wake.set()

    def sever(self) -> None:
        """End it without sending anything."""
        self._outgoing.clear()
        self.severed = True
        self.end()

    def can_upgrade(self) -> bool:
        """Return whether polls carry it and no upgrade has begun."""
        return not (self.on_websocket or self.probing or self.ended)

    def probe(self) -> None:
        """Begin an upgrade to a WebSocket."""
        self.probing = True
        self._wake.set()

    def upgrade(self) -> None:
        """Complete an upgrade to a WebSocket."""
        self.on_websocket, self.probing = True, False

    def cancel_upgrade(self) -> None:
        """Cancel an upgrade to a WebSocket."""
        self.probing = False

    def join(self, rooms: Iterable[str]) -> None:
        """Subscribe to rooms."""
        self.rooms.update(rooms)

    def leave(self, rooms: Iterable[str]) -> None:
        """Unsubscribe from rooms."""
        self.rooms.difference_update(rooms)

    async def take(self) -> list[str]:
        """Wait for packets, or for the end or an upgrade, and return the packets."""
        while not (self._outgoing or self.ended or self.probing):
            self._wake.clear()
            await self._wake.wait()
        taken, self._outgoing = self._outgoing, []
        return taken


_ADDRESSES = "bitcoind/addresstxid"


def rooms_of(arguments: Iterable[Any]) -> list[str]:
    """Return the rooms that the arguments of ``subscribe`` name.

    They are ``inv``, ``bitcoind/addresstxid`` with one address or a list, or an address.
    """
    name, *rest = [*arguments, None]
    addresses = rest[0]
    if not isinstance(name, str):
        return []
    if name != _ADDRESSES:
        return [name]
    named = [addresses] if isinstance(addresses, str) else addresses
    return [one for one in named if isinstance(one, str)] if isinstance(named, list) else []


def events_of(item: ChainItem, rooms: frozenset[str] | set[str], options: LocalBloqOptions) -> Iterator[str]:
    """Return the events about a transaction or a block for a connection with these rooms."""
    if isinstance(item, IndexedBlock):
        if INV in rooms:
            yield event_packet("block", item.hash)
        return
    if INV in rooms:
        yield event_packet("tx", _inv(item))
    for address in sorted(item.addresses & rooms):
        if options.connect_address_event == "txid":
            yield event_packet(address, item.txid)
        else:
            yield event_packet(address, {"address": address, "txid": item.txid})


def _inv(transaction: IndexedTransaction) -> dict[str, Any]:
    return {
        "txid": transaction.txid,
        "valueOut": coins(transaction.value_out()),
        "vout": [{output.address: output.satoshi} for output in transaction.outputs if output.address],
        "isRBF": transaction.replaceable,
    }


_log = logging.getLogger(__name__)

#: Reason for ending a connection when its token has expired.
EXPIRED = "jwt expired"
#: Seconds between two checks of the nodes and the clock.
_POLL_INTERVAL = 0.05


class SocketSessions:
    """The connections of one service. Used on the event loop only."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._chains: Mapping[str, UtxoChain] = {}
        self._sessions: dict[str, SocketSession] = {}
        self._held: list[tuple[str, ChainItem]] | None = None
        #: Chains whose node did not answer at the last check.
        self._unavailable: set[str] = set()
        self._watching: asyncio.Task[None] | None = None

    def follow(self, chains: Mapping[str, UtxoChain]) -> None:
        """Set the chains, which are polled while there are connections."""
        self._chains = chains

    def open(self, chain: str, grant: Grant, upgrades: list[str]) -> SocketSession:
        """Open a connection and send its handshake.

        :param upgrades: Transports to which it may upgrade.
        """
        options = self._backend.options
        session = SocketSession(
            secrets.token_urlsafe(15),
            chain,
            grant,
            self._backend.clock.now(),
            asyncio.get_running_loop().time(),
        )
        handshake = open_packet(
            session.sid, upgrades, options.connect_ping_seconds, options.connect_ping_timeout_seconds
        )
        session.send(handshake, CONNECT)
        self._sessions[session.sid] = session
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        return session

    def find(self, sid: str) -> SocketSession | None:
        """Return the connection of an id."""
        return self._sessions.get(sid)

    def remove(self, session: SocketSession) -> None:
        """End a connection and remove it."""
        session.end()
        self._sessions.pop(session.sid, None)

    def received(self, session: SocketSession, packet: str) -> None:
        """Handle a packet of a client; an invalid one ends the connection."""
        session.alive_at = asyncio.get_running_loop().time()
        kind, rest = packet[:1], packet[1:]
        if kind == PING:
            session.send(PONG + rest)
        elif kind == CLOSE:
            self.remove(session)
        elif kind == MESSAGE:
            try:
                self._handle(session, read_socket_packet(rest))
            except ValueError:
                session.end()

    def publish(self, chain: str, item: ChainItem) -> None:
        """Send a new transaction or block to all subscribers."""
        if self._held is not None:
            self._held.append((chain, item))
            return
        for session in self._sessions.values():
            if session.chain == chain:
                session.send(*events_of(item, session.rooms, self._backend.options))

    def count(self) -> int:
        """Return the number of open connections."""
        return sum(not session.ended for session in self._sessions.values())

    def drop(self) -> int:
        """Cut all connections without notice; return how many there were."""
        dropped = [session for session in self._sessions.values() if not session.ended]
        for session in dropped:
            session.sever()
            self.remove(session)
        return len(dropped)

    def hold(self) -> None:
        """Hold all events until :meth:`release`."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """Send the events that were held to the current subscribers."""
        held, self._held = self._held or [], None
        for chain, item in held:
            self.publish(chain, item)

    async def close(self) -> None:
        """End all connections."""
        for session in list(self._sessions.values()):
            self.remove(session)
        if self._watching is not None:
            await self._watching

    def _handle(self, session: SocketSession, packet: SocketPacket) -> None:
        if packet.namespace != ROOT:
            # There is only one namespace; other packets for another one are ignored.
            if packet.kind == "0":
                session.send(error_packet("Invalid namespace", packet.namespace))
        elif packet.kind == "1":
            session.end()
        elif packet.kind == "2":
            self._handle_event(session, packet)

    def _handle_event(self, session: SocketSession, packet: SocketPacket) -> None:
        name, *arguments = packet.data if isinstance(packet.data, list) and packet.data else [None]
        if name == "subscribe":
            session.join(rooms_of(arguments))
        elif name == "unsubscribe":
            session.leave(rooms_of(arguments))
        if packet.acknowledgement is not None:
            session.send(acknowledgement_packet(packet.acknowledgement))

    async def _watch(self) -> None:
        while self._sessions:
            self._end_stale()
            for chain in {session.chain for session in self._sessions.values()}:
                await self._poll(chain)
            await asyncio.sleep(_POLL_INTERVAL)

    async def _poll(self, chain: str) -> None:
        try:
            await self._chains[chain].now()
        except ApiProblem as problem:
            if chain not in self._unavailable:
                _log.warning("the stream of %s has no events: %s", chain, problem.detail)
            self._unavailable.add(chain)
        else:
            self._unavailable.discard(chain)

    def _end_stale(self) -> None:
        options = self._backend.options
        now = self._backend.clock.now()
        silent_since = (
            asyncio.get_running_loop().time()
            - options.connect_ping_seconds
            - options.connect_ping_timeout_seconds
        )
        for session in list(self._sessions.values()):
            if session.alive_at < silent_since:
                self.remove(session)
            elif session.ended:
                continue
            elif now >= session.grant.expires_at:
                # Only an event of this name gives the client's "disconnect" a reason.
                session.end(event_packet("disconnect", EXPIRED), DISCONNECT)
            elif not session.rooms and now >= session.opened_at + options.connect_idle_seconds:
                session.end(DISCONNECT)
