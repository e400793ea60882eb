"""One connection of the stream, whatever carries it: HTTP polls, or a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from airflow_provider_bloq.testing.local.tokens import Grant

__all__ = ["INV", "Session"]

#: The room of all transactions and blocks.
INV = "inv"


class Session:
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
