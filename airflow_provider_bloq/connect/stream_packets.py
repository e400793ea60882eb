"""The packets of Connect's stream: the parts of Socket.IO 2 on Engine.IO 3 that a listener needs.

Engine.IO 4, used by Socket.IO 3 and later, is a different protocol and not supported. This is not left to
python-socketio because its release 5 no longer supports Socket.IO 2, while earlier ones are unmaintained and their
asyncio parts break on Python 3.11.

An Engine.IO packet is a digit and a text: ``0`` open, ``1`` close, ``2`` ping, ``3`` pong, ``4`` message. A message
contains a Socket.IO packet: ``0`` connected, ``1`` disconnected, ``2`` event, ``4`` error, each for a namespace.
See https://github.com/socketio/engine.io-protocol/tree/v3 and https://github.com/socketio/socket.io-protocol/tree/v4.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from airflow_provider_bloq.flow import service

__all__ = [
    "PING",
    "Signal",
    "StreamEvent",
    "StreamHandshake",
    "StreamPacket",
    "StreamRefusal",
    "is_block",
    "is_token_expiry",
    "read_packet",
    "subscriptions",
    "txid_in",
]


#: Sent by the client to check that the server is still there.
PING = "2"
#: Used if the server does not specify them: the defaults of Engine.IO 3, in seconds.
_DEFAULT_INTERVAL, _DEFAULT_TIMEOUT = 25.0, 5.0
#: Bounds in seconds, so that a faulty server causes neither a busy loop nor an endless wait.
_SHORTEST, _LONGEST = 0.05, 600.0
#: Words that show that an error or a disconnect is about the token.
_ABOUT_TOKEN = re.compile(r"jwt|token|credential|auth", re.IGNORECASE)


#: Rooms: all events, and the transactions of addresses.
_ALL_ROOM, _ADDRESSES_ROOM = "inv", "bitcoind/addresstxid"
_BLOCK = "block"
#: Events that do not belong to an address.
_COMMON = frozenset({_BLOCK, "tx", "disconnect"})
_TXID = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Signal(Enum):
    """A packet without content."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    PONG = "pong"
    CLOSED = "closed"
    #: A packet that listeners ignore, such as those of other namespaces.
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class StreamHandshake:
    """The first packet. The connection id in it is a credential and is not kept.

    :param ping_interval: Seconds between pings of the client.
    :param ping_timeout: Maximum time in seconds for the answer to a ping.
    """

    ping_interval: float
    ping_timeout: float


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event.

    :param name: Its name.
    :param arguments: Its arguments.
    """

    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class StreamRefusal:
    """The server refuses the connection.

    :param is_about_token: Whether because of the token.
    """

    is_about_token: bool


StreamPacket: TypeAlias = Signal | StreamHandshake | StreamEvent | StreamRefusal


def read_packet(text: str) -> StreamPacket:
    """Parse a packet.

    :param text: A text message of the WebSocket.
    :raises ValueError: It is not Engine.IO 3 with Socket.IO 2. The error does not quote the text.
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
    raise ValueError("it does not begin with a packet type")


def subscriptions(addresses: Sequence[str]) -> list[str]:
    """Return the packets that join rooms: that of blocks, and that of the transactions of addresses.

    :param addresses: The addresses, if any.
    """
    rooms: list[list[Any]] = [[_ALL_ROOM]]
    if addresses:
        rooms.append([_ADDRESSES_ROOM, list(addresses)])
    return [f"42{json.dumps(['subscribe', *room], separators=(',', ':'))}" for room in rooms]


def is_block(event: StreamEvent) -> bool:
    """Return whether an event announces a block."""
    return event.name == _BLOCK


def txid_in(event: StreamEvent) -> str | None:
    """Return the id of the transaction that an event of an address announces; None for other events.

    The id may be a text or, as in Insight, in an object.
    """
    if event.name in _COMMON:
        return None
    return next((txid for one in event.arguments if (txid := _txid(one)) is not None), None)


def _txid(argument: Any) -> str | None:
    text = argument.get("txid") if isinstance(argument, dict) else argument
    return text.lower() if isinstance(text, str) and _TXID.fullmatch(text.lower()) else None


def is_token_expiry(event: StreamEvent) -> bool:
    """Return whether an event ends the connection because its token is no longer valid."""
    return event.name == "disconnect" and any(_is_about_token(one) for one in event.arguments)


def _handshake(text: str) -> StreamHandshake:
    match _json(text):
        case dict() as fields:
            return StreamHandshake(
                _seconds(fields.get("pingInterval"), _DEFAULT_INTERVAL),
                _seconds(fields.get("pingTimeout"), _DEFAULT_TIMEOUT),
            )
    raise ValueError("its handshake is not an object")


def _message(text: str) -> StreamPacket:
    kind, rest = text[:1], text[1:]
    # Only packets of other namespaces than the root name theirs.
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
    raise ValueError("it contains no Socket.IO 2 packet")


def _event(text: str) -> StreamEvent:
    content = _json(text)
    if not isinstance(content, list) or not content or not isinstance(content[0], str):
        raise ValueError("its event has no name")
    return StreamEvent(content[0], tuple(content[1:]))


def _json(text: str) -> Any:
    try:
        return service.parse_json(text)
    except ValueError:
        # The original message would quote the packet.
        raise ValueError("it contains invalid JSON") from None


def _is_about_token(reason: Any) -> bool:
    text = reason.get("message") if isinstance(reason, dict) else reason
    return isinstance(text, str) and _ABOUT_TOKEN.search(text) is not None


def _seconds(milliseconds: Any, default: float) -> float:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return default
    return min(max(milliseconds / 1000.0, _SHORTEST), _LONGEST)
