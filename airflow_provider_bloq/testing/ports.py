"""Free TCP ports on loopback, for servers that have to be told theirs."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import TypeVar

from airflow_provider_bloq.testing.errors import TestingSetupError

__all__ = ["LOOPBACK", "free_ports", "on_free_port"]

LOOPBACK = "127.0.0.1"
_ATTEMPTS = 20

Started = TypeVar("Started")


def free_ports(count: int) -> list[int]:
    """Find as many ports that no program listens on, all different."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [int(server.getsockname()[1]) for server in sockets]
    for server in sockets:
        server.close()
    return ports


def on_free_port(start: Callable[[int], Started], taken: re.Pattern[str], name: str) -> Started:
    """Start a server on a free port; on another one, if that was taken between the look and the start.

    :param start: Starts the server on a port.
    :param taken: What the error says if another program listens there already.
    :param name: What the server is called in messages.
    :return: What ``start`` returned.
    :raises TestingSetupError: ``start`` raised another, or found every port taken.
    """
    for _ in range(_ATTEMPTS):
        (port,) = free_ports(1)
        try:
            return start(port)
        except TestingSetupError as error:
            if not taken.search(str(error)):
                raise
    raise TestingSetupError(f"{name} found no free port in {_ATTEMPTS} attempts")
