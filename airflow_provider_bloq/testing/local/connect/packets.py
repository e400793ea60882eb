"""The packets of Engine.IO 3 and Socket.IO 2 that the stream needs, as texts.

Engine.IO carries packets of one digit and a text: ``0`` open, ``1`` close, ``2`` ping, ``3`` pong, ``4`` message,
``5`` upgrade, ``6`` noop. A WebSocket message holds one; an HTTP body holds many, each behind its length and a
colon. Socket.IO speaks in Engine.IO messages: again a digit (``0`` connect, ``1`` disconnect, ``2`` event, ``3``
acknowledgement, ``4`` error), a namespace with a comma unless it is ``/``, the number of the acknowledgement that
is wanted, and JSON. Nothing here is binary, but a client may frame its texts as bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.testing.local.inbound import read_json

__all__ = [
    "CLOSE",
    "CONNECT",
    "DISCONNECT",
    "MESSAGE",
    "NOOP",
    "PING",
    "PONG",
    "ROOT",
    "UPGRADE",
    "SocketPacket",
    "acknowledgement_packet",
    "error_packet",
    "event_packet",
    "open_packet",
    "read_payload",
    "read_socket_packet",
    "write_payload",
]


CLOSE = "1"
PING = "2"
PONG = "3"
MESSAGE = "4"
UPGRADE = "5"
NOOP = "6"
#: Tells the client that it is connected to the namespace ``/``, or no longer.
CONNECT = f"{MESSAGE}0"
DISCONNECT = f"{MESSAGE}1"
#: The namespace that there is.
ROOT = "/"

_TEXT_FRAME, _BINARY_FRAME, _LENGTH_END = 0, 1, 255


@dataclass(frozen=True, slots=True)
class SocketPacket:
    """A packet of Socket.IO.

    :param kind: Its digit.
    :param acknowledgement: Number of the acknowledgement that the sender waits for; None for none.
    :param data: What it carries; of an event a list of its name and its arguments.
    """

    kind: str
    namespace: str
    acknowledgement: int | None
    data: Any


def open_packet(sid: str, upgrades: list[str], interval: float, timeout: float) -> str:
    """Write the first packet of a connection.

    :param interval: Seconds between two pings of the client.
    :param timeout: Seconds that an answer to one may take.
    """
    handshake = {
        "sid": sid,
        "upgrades": upgrades,
        "pingInterval": round(interval * 1000),
        "pingTimeout": round(timeout * 1000),
    }
    return "0" + json.dumps(handshake)


def event_packet(name: str, *arguments: Any) -> str:
    """Write an event."""
    return f"{MESSAGE}2{json.dumps([name, *arguments])}"


def acknowledgement_packet(number: int) -> str:
    """Write the acknowledgement of an event."""
    return f"{MESSAGE}3{number}[]"


def error_packet(reason: str, namespace: str = ROOT) -> str:
    """Write that a namespace cannot be connected to."""
    where = "" if namespace == ROOT else f"{namespace},"
    return f"{MESSAGE}4{where}{json.dumps(reason)}"


def read_socket_packet(text: str) -> SocketPacket:
    """Read the text of an Engine.IO message.

    :raises ValueError: It is not a packet that can be sent as text.
    """
    kind, rest = text[:1], text[1:]
    if kind not in tuple("01234"):
        raise ValueError(f"packets of kind {kind!r} are not supported")
    namespace = ROOT
    if rest.startswith("/"):
        namespace, _, rest = rest.partition(",")
    body = rest.lstrip("0123456789")
    number = rest[: len(rest) - len(body)]
    return SocketPacket(
        kind=kind,
        # A query may be sent along with the name.
        namespace=namespace.partition("?")[0],
        acknowledgement=int(number) if number else None,
        data=read_json(body) if body else None,
    )


def write_payload(packets: Iterable[str]) -> str:
    """Write packets as the body of an answer."""
    return "".join(f"{_length(packet)}:{packet}" for packet in packets)


def read_payload(body: bytes) -> list[str]:
    """Read the packets of a request's body, framed as texts or as bytes.

    :raises ValueError: It is not well formed.
    """
    if body[:1] in (bytes([_TEXT_FRAME]), bytes([_BINARY_FRAME])):
        return list(_framed_as_bytes(body))
    return list(_framed_as_text(body.decode()))


def _framed_as_text(text: str) -> Iterator[str]:
    # Lengths count UTF-16 code units, as the length of a text does in JavaScript.
    units = text.encode("utf-16-le")
    while units:
        head, colon, _ = units.partition(":".encode("utf-16-le"))
        digits = head.decode("utf-16-le")
        if not colon or not (digits.isascii() and digits.isdigit()):
            raise ValueError("a packet has no length")
        start = len(head) + len(colon)
        end = start + 2 * int(digits)
        if end > len(units) or end == start:
            raise ValueError("a packet is shorter than its length, or empty")
        yield units[start:end].decode("utf-16-le")
        units = units[end:]


def _framed_as_bytes(body: bytes) -> Iterator[str]:
    while body:
        head, mark, rest = body.partition(bytes([_LENGTH_END]))
        if not mark or head[0] != _TEXT_FRAME or not 1 < len(head) < 11 or max(head[1:]) > 9:
            raise ValueError("a packet is not text, or has no length")
        length = int("".join(map(str, head[1:])))
        if not 0 < length <= len(rest):
            raise ValueError("a packet is shorter than its length, or empty")
        yield rest[:length].decode()
        body = rest[length:]


def _length(packet: str) -> int:
    return len(packet.encode("utf-16-le")) // 2
