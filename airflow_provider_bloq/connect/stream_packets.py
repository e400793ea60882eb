"""The packets of Connect's stream, as texts: Socket.IO 2 within Engine.IO 3, as much of both as a listener needs.

Engine.IO 4, which Socket.IO 3 and later speak, is another protocol and is not spoken here: there the server pings,
and Bloq's stream is one of Socket.IO 2. The code is this package's own because python-socketio 5 cannot speak that
version any more, while the releases that can are no longer maintained and their asyncio parts break on Python 3.11.

A packet of Engine.IO is a digit and a text: ``0`` open, ``1`` close, ``2`` ping, ``3`` pong, ``4`` message. In a
message stands one of Socket.IO: ``0`` connected, ``1`` disconnected, ``2`` event, ``4`` error, each for a namespace.
See https://github.com/socketio/engine.io-protocol/tree/v3 and https://github.com/socketio/socket.io-protocol/tree/v4.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from airflow_provider_bloq.flow import responses

__all__ = [
    "PING",
    "Signal",
    "StreamEvent",
    "StreamHandshake",
    "StreamPacket",
    "StreamRefusal",
    "ends_token",
    "is_block",
    "read_packet",
    "subscription",
    "subscriptions",
    "txid_in",
]


#: What the client sends to hear that the server is still there.
PING = "2"
#: What is assumed where the server does not say so: the defaults of Engine.IO 3, in seconds.
_USUAL_INTERVAL, _USUAL_TIMEOUT = 25.0, 5.0
#: Bounds of what it may say, so that a strange server makes neither a busy loop nor an eternal wait.
_SHORTEST, _LONGEST = 0.05, 600.0
#: By what an error or a farewell is about the token. No more than that is read of such texts.
_ABOUT_TOKEN = re.compile(r"jwt|token|credential|auth", re.IGNORECASE)


class Signal(Enum):
    """A packet that says no more than that it came."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    PONG = "pong"
    CLOSED = "closed"
    #: One that a listener has no use for, such as those of other namespaces.
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class StreamHandshake:
    """The first packet. The id of the connection that it holds is a credential and is not kept.

    :param ping_interval: Seconds between two pings of the client.
    :param ping_timeout: Seconds that the answer to one may take.
    """

    ping_interval: float
    ping_timeout: float


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event.

    :param name: Its name.
    :param arguments: What came with it.
    """

    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class StreamRefusal:
    """The server does not let the client in.

    :param is_about_token: Whether because of its token.
    """

    is_about_token: bool


StreamPacket: TypeAlias = Signal | StreamHandshake | StreamEvent | StreamRefusal


def read_packet(text: str) -> StreamPacket:
    """Read a packet.

    :param text: The text of one message of the WebSocket.
    :raises ValueError: This is no Engine.IO 3 with Socket.IO 2. Does not quote the text.
    """
    kind, rest = text[:1], text[1:]
    match kind:
        case "0":
            return _handshake(rest)
        case "1":
            return Signal.CLOSED
        case "3":
            return Signal.PONG
        case "4":
            return _message(rest)
        case "2" | "5" | "6":
            return Signal.OTHER
    raise ValueError("it begins with no kind of packet")


def subscription(room: str, addresses: Sequence[str] | None = None) -> str:
    """Write the packet by which a client joins a room.

    :param room: Its name.
    :param addresses: The addresses, for a room that is about some.
    """
    told: list[Any] = ["subscribe", room] if addresses is None else ["subscribe", room, list(addresses)]
    return f"42{json.dumps(told, separators=(',', ':'))}"


def ends_token(event: StreamEvent) -> bool:
    """Tell whether an event is the farewell to a connection whose token is no longer good."""
    return event.name == "disconnect" and any(_is_about_token(one) for one in event.arguments)


def _handshake(text: str) -> StreamHandshake:
    match _json(text):
        case dict() as fields:
            return StreamHandshake(
                _seconds(fields.get("pingInterval"), _USUAL_INTERVAL),
                _seconds(fields.get("pingTimeout"), _USUAL_TIMEOUT),
            )
    raise ValueError("its handshake is no object")


def _message(text: str) -> StreamPacket:
    kind, rest = text[:1], text[1:]
    # What is of another namespace names it; the root is not named.
    if rest.startswith("/"):
        return Signal.OTHER
    match kind:
        case "0":
            return Signal.CONNECTED
        case "1":
            return Signal.DISCONNECTED
        case "2":
            return _event(rest.lstrip("0123456789"))
        case "4":
            return StreamRefusal(_is_about_token(_json(rest) if rest else None))
        case "3" | "5" | "6":
            return Signal.OTHER
    raise ValueError("it holds no packet of Socket.IO 2")


def _event(text: str) -> StreamEvent:
    content = _json(text)
    if not isinstance(content, list) or not content or not isinstance(content[0], str):
        raise ValueError("its event has no name")
    return StreamEvent(content[0], tuple(content[1:]))


def _json(text: str) -> Any:
    try:
        return responses.parse_json(text)
    except ValueError:
        # Its own words would quote what the server sent.
        raise ValueError("it holds something that is no JSON") from None


def _is_about_token(told: Any) -> bool:
    text = told.get("message") if isinstance(told, dict) else told
    return isinstance(text, str) and _ABOUT_TOKEN.search(text) is not None


def _seconds(milliseconds: Any, usual: float) -> float:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return usual
    return min(max(milliseconds / 1000.0, _SHORTEST), _LONGEST)


_ALL = "inv"
_OF_ADDRESSES = "bitcoind/addresstxid"
_BLOCK = "block"
#: Events that are about no address in particular.
_COMMON = frozenset({_BLOCK, "tx", "disconnect"})
_TXID = re.compile(r"[0-9a-f]{64}", re.ASCII)


def subscriptions(addresses: Sequence[str]) -> list[str]:
    """Return the packets by which a listener joins its rooms: that of blocks always.

    :param addresses: Of whose transactions it wants to hear.
    """
    joining = [subscription(_ALL)]
    return [*joining, subscription(_OF_ADDRESSES, addresses)] if addresses else joining


def is_block(event: StreamEvent) -> bool:
    """Tell whether an event announces a block."""
    return event.name == _BLOCK


def txid_in(event: StreamEvent) -> str | None:
    """Return the id of the transaction that an event of an address announces; None for other events.

    It comes as a text or, as Insight itself has it, in an object.
    """
    if event.name in _COMMON:
        return None
    return next((txid for told in event.arguments if (txid := _txid(told)) is not None), None)


def _txid(told: Any) -> str | None:
    text = told.get("txid") if isinstance(told, dict) else told
    return text.lower() if isinstance(text, str) and _TXID.fullmatch(text.lower()) else None
