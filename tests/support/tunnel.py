"""A forward proxy on loopback: tunnels CONNECT, answers plain requests itself."""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.support.raw_server import RawConnection, SeenRequest

__all__ = ["PROXY_BODY", "proxying"]

#: What the proxy answers to a plain http request, so that a test sees who answered.
PROXY_BODY = b'{"by": "proxy"}'


def proxying(connection: RawConnection, request: SeenRequest) -> None:
    """Serve one request as a proxy does."""
    if request.method != "CONNECT":
        connection.reply(200, PROXY_BODY)
        return
    host, _, port = request.target.rpartition(":")
    with socket.create_connection((host, int(port))) as upstream:
        connection.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=_pump, args=(upstream, connection.sock), daemon=True)
        back.start()
        _pump(connection.sock, upstream)
        back.join()
    connection.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
