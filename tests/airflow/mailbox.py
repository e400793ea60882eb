"""A mail server on loopback that keeps what it is sent."""

from __future__ import annotations

import socketserver
import threading
from dataclasses import dataclass
from email import message_from_bytes, policy
from types import TracebackType
from typing import Any

__all__ = ["Mail", "Mailbox"]


@dataclass(frozen=True)
class Mail:
    """A mail: to whom, about what, saying what."""

    to: str
    subject: str
    body: str


class Mailbox:
    """Takes mails by SMTP, without encryption or login."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _session_of(self.mails))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Mailbox:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def connection(self) -> dict[str, Any]:
        """Return the Airflow connection by which it is written to."""
        host, port = self._server.server_address[:2]
        extra = {"disable_ssl": True, "disable_tls": True}
        return {"conn_type": "smtp", "host": host, "port": port, "extra": extra}


def _session_of(mails: list[Mail]) -> type[socketserver.StreamRequestHandler]:
    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say(b"220 mailbox")
            while line := self.rfile.readline():
                match line.split(None, 1)[0].upper():
                    case b"EHLO" | b"HELO" | b"MAIL" | b"RCPT" | b"NOOP" | b"RSET":
                        self._say(b"250 mailbox")
                    case b"DATA":
                        self._say(b"354 go on")
                        # Kept before it is acknowledged: who was told that it is sent finds it here.
                        mails.append(self._mail())
                        self._say(b"250 taken")
                    case b"QUIT":
                        self._say(b"221 bye")
                        return
                    case _:
                        self._say(b"502 unknown")

        def _mail(self) -> Mail:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            message = message_from_bytes(b"".join(lines), policy=policy.default)
            text = message.get_body(("html",))
            assert text is not None
            return Mail(message["to"], message["subject"], text.get_content())

        def _say(self, line: bytes) -> None:
            self.wfile.write(line + b"\r\n")

    return Session
