"""Finds loopback addresses for nodes and binds their ports, so that nobody can take them in between."""

from __future__ import annotations

import secrets
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web

from airflow_provider_bloq.testing.local.errors import LocalBloqError

__all__ = [
    "BACKLOG",
    "Listener",
    "NoFreeAddress",
    "Place",
    "bind",
    "bind_place",
]


#: Connections that may wait to be accepted: a test opens hundreds at once.
BACKLOG = 1_024
_ATTEMPTS = 50


class NoFreeAddress(LocalBloqError, OSError):
    """No loopback address has the wanted port free."""


@dataclass(frozen=True, slots=True)
class Place:
    """An address with bound sockets on it.

    :param address: What to connect to: an IP address, or ``ip:port`` where the port is not the
        chain's own.
    :param ip: The IP address alone.
    :param sockets: Port asked for → bound socket.
    """

    address: str
    ip: str
    sockets: dict[int, socket.socket]


def bind(ip: str, port: int) -> socket.socket:
    """Bind a TCP socket and listen on it.

    :raises OSError: The port is taken.
    """
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A port with old connections in TIME_WAIT may be taken; one that is listened on may not.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((ip, port))
        # Only a listening socket keeps others that reuse addresses off the port.
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    bound.settimeout(0)
    return bound


def bind_place(port: int, extra_ports: Sequence[int] = (), *, own_ip: bool = True) -> Place:
    """Bind a port at a random free address ``127.a.b.c``.

    :param port: The port that must be had.
    :param extra_ports: Ports to bind at the same address if they can be had; they cannot, anywhere,
        while some server listens on them on all addresses.
    :param own_ip: If false, take any free port of 127.0.0.1 instead, and no extra ports.
    :raises NoFreeAddress: The port is not to be had.
    """
    if not own_ip:
        bound = bind("127.0.0.1", 0)
        return Place(f"127.0.0.1:{bound.getsockname()[1]}", "127.0.0.1", {port: bound})
    for _ in range(_ATTEMPTS):
        ip = f"127.{_between(1, 254)}.{_between(0, 255)}.{_between(1, 254)}"
        try:
            sockets = {port: bind(ip, port)}
        except OSError:
            continue
        for extra in extra_ports:
            if extra not in sockets:
                with suppress(OSError):
                    sockets[extra] = bind(ip, extra)
        return Place(ip, ip, sockets)
    raise NoFreeAddress(
        f"port {port} is free at none of {_ATTEMPTS} addresses 127.x.x.x: another server may listen on it "
        "on all addresses, or this system has no loopback address but 127.0.0.1 (then set node_address to "
        "port-in-ip)"
    )


def _between(least: int, most: int) -> int:
    return least + secrets.randbelow(most - least + 1)


# How long a request that is being carried out may take to end when its listener is closed, in seconds.
_GRACE = 2.0


class Listener:
    """Serves an application on sockets that it owns.

    :param application: What answers.
    :param sockets: Bound sockets.
    :param context: TLS, if it is to be spoken.
    """

    def __init__(
        self,
        application: web.Application,
        sockets: Sequence[socket.socket],
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_GRACE)
        self._sockets = list(sockets)
        self._context = context

    @property
    def port(self) -> int:
        """The port of the first socket."""
        port: int = self._sockets[0].getsockname()[1]
        return port

    async def open(self) -> None:
        """Begin to answer."""
        await self._runner.setup()
        for bound in self._sockets:
            await web.SockSite(self._runner, bound, ssl_context=self._context, backlog=BACKLOG).start()

    async def close(self) -> None:
        """Stop answering and release the sockets."""
        await self._runner.cleanup()
        for bound in self._sockets:
            bound.close()

    def drop_connections(self) -> None:
        """Close the connections that are open now; new ones are taken as before."""
        if self._runner.server is not None:
            for connection in self._runner.server.connections:
                connection.force_close()
