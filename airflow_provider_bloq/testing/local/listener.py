"""Sockets on loopback addresses, and HTTP servers on them."""

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
    "BoundAddress",
    "HttpListener",
    "NoFreeAddress",
    "bind",
    "bind_address",
]


#: Connections that may wait to be accepted; a test opens hundreds at once.
BACKLOG = 1_024
_ATTEMPTS = 50


class NoFreeAddress(LocalBloqError, OSError):
    """No loopback address has the wanted port free."""


@dataclass(frozen=True, slots=True)
class BoundAddress:
    """An address with bound sockets.

    :param address: The IP address, or ``ip:port`` if the port is not that of the chain.
    :param ip: The IP address.
    :param sockets: Requested port → bound socket.
    """

    address: str
    ip: str
    sockets: dict[int, socket.socket]


def bind(ip: str, port: int) -> socket.socket:
    """Bind a TCP socket and listen on it.

    :raises OSError: The port is in use.
    """
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Allows a port with old connections in TIME_WAIT, but not one on which a program listens.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((ip, port))
        # Only a listening socket keeps other programs that reuse addresses off the port.
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    bound.settimeout(0)
    return bound


def bind_address(port: int, extra_ports: Sequence[int] = (), *, own_ip: bool = True) -> BoundAddress:
    """Bind a port at a random free address ``127.a.b.c``.

    :param port: The required port.
    :param extra_ports: Ports to bind at the same address if they are free; they never are while a server
        listens on them on all addresses.
    :param own_ip: If false, bind a free port of 127.0.0.1 instead, and no extra ports.
    :raises NoFreeAddress: The port is not free.
    """
    if not own_ip:
        bound = bind("127.0.0.1", 0)
        return BoundAddress(f"127.0.0.1:{bound.getsockname()[1]}", "127.0.0.1", {port: bound})
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
        return BoundAddress(ip, ip, sockets)
    raise NoFreeAddress(
        f"port {port} is not free at any of {_ATTEMPTS} addresses 127.x.x.x: another server may listen on it "
        "on all addresses, or 127.0.0.1 is the only loopback address of this system (then set node_address to "
        "port-in-ip)"
    )


def _between(least: int, most: int) -> int:
    return least + secrets.randbelow(most - least + 1)


# Seconds that running requests have to end when their listener is closed.
_GRACE = 2.0


class HttpListener:
    """Serves an application on sockets that it owns.

    :param application: The application.
    :param sockets: Bound sockets.
    :param context: TLS context; None for plain HTTP.
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
        """Start to serve."""
        await self._runner.setup()
        for bound in self._sockets:
            await web.SockSite(self._runner, bound, ssl_context=self._context, backlog=BACKLOG).start()

    async def close(self) -> None:
        """Stop serving and close the sockets."""
        await self._runner.cleanup()
        for bound in self._sockets:
            bound.close()

    def drop_connections(self) -> None:
        """Close all open connections; new ones are accepted as before."""
        if self._runner.server is not None:
            for connection in self._runner.server.connections:
                connection.force_close()
