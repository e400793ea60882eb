"""A server on a bare socket, which answers as a test scripts it and remembers every byte."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

__all__ = ["RawConnection", "RawServer", "Script", "SeenRequest", "Serve", "answering"]

# Linger on with a timeout of zero: closing the socket then sends RST instead of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_TLS_HANDSHAKE = b"\x16"


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request as it arrived; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


@dataclass
class RawConnection:
    """One accepted connection, as a script sees it."""

    sock: socket.socket
    stopping: threading.Event
    open: bool = True

    def reply(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """Answer; ``Set_Cookie="a=1"`` makes the header ``Set-Cookie``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in named.items())]
        if "Content-Length" not in named and "Transfer-Encoding" not in named:
            lines.append(f"Content-Length: {len(body)}")
        self.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def write(self, raw: bytes) -> None:
        # Whoever was told off may hang up before the end.
        with contextlib.suppress(OSError):
            self.sock.sendall(raw)

    def close(self) -> None:
        self.open = False

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.open = False

    def stall(self) -> None:
        """Send nothing more until the server is stopped."""
        self.stopping.wait()
        self.open = False


Script = Callable[[RawConnection, SeenRequest], None]


def answering(status: int = 200, body: bytes = b"{}", **headers: str) -> Script:
    """Script the same answer for every request."""
    return lambda connection, _: connection.reply(status, body, **headers)


@dataclass
class RawServer:
    """Listens on a free loopback port while it is entered.

    :param script: Answers each request.
    :param tls: Where given, TLS is spoken; may be changed for the connections to come.
    """

    script: Script
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    requests: list[SeenRequest] = field(default_factory=list)
    #: Connections accepted, whatever came of them.
    connections: int = 0
    #: Bytes that arrived above TLS.
    received: int = 0

    def __enter__(self) -> Self:
        self._stopping = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server((self.host, 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        # Wakes the thread that accepts, which closing alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, accepted: socket.socket) -> None:
        sock = accepted
        try:
            if self.tls is not None:
                sock = self.tls.wrap_socket(accepted, server_side=True)
                self._sockets.append(sock)
            connection = RawConnection(sock, self._stopping)
            if self.tls is None and sock.recv(1, socket.MSG_PEEK) == _TLS_HANDSHAKE:
                connection.reply(400)
                return
            stream = sock.makefile("rb")
            while connection.open and (request := self._read(stream.readline, stream.read)) is not None:
                self.requests.append(request)
                self.script(connection, request)
        except OSError:
            # A handshake that was broken off, or a client that went away: what tests provoke.
            return
        finally:
            sock.close()

    def _read(self, line: Callable[[], bytes], read: Callable[[int], bytes]) -> SeenRequest | None:
        lines = []
        while (text := self._count(line())) not in (b"\r\n", b"\n", b""):
            lines.append(text.decode("latin-1").rstrip("\r\n"))
        if not lines:
            return None
        method, target, *_ = [*lines[0].split(" "), ""]
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self._count(line()), 16):
                body += self._count(read(size))
                self._count(line())
            self._count(line())
        else:
            body = self._count(read(int(headers.get("content-length", 0))))
        return SeenRequest(method, target, headers, body)

    def _count(self, data: bytes) -> bytes:
        self.received += len(data)
        return data


#: The fixture that starts servers: of a script, a TLS context, and more fields by name.
Serve = Callable[..., RawServer]
