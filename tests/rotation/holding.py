"""A relay before Vault that keeps one request back, as a slow network does, and delivers it when told."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

__all__ = ["HoldingRelay"]


class Held(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class HoldingRelay(ThreadingHTTPServer):
    """Hands requests on, but keeps the first that fits: its sender gets no answer.

    :param port: Port of the Vault.
    :param holds: Tells by method and path which request to keep.
    """

    daemon_threads = True

    def __init__(self, port: int, holds: Callable[[str, str], bool]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.vault_port = port
        self.held: Held | None = None
        self._holds = holds
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def keeps(self, request: Held) -> bool:
        """Keep the request, if it is the one."""
        if self.held is not None or not self._holds(request.method, request.path):
            return False
        self.held = request
        return True

    def deliver(self) -> int:
        """Deliver the request that was kept; returns the status of Vault's answer."""
        assert self.held is not None
        return self.hand_on(self.held)[0]

    def hand_on(self, request: Held) -> tuple[int, bytes, str]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.vault_port, timeout=60)
        try:
            upstream.request(request.method, request.path, request.body, request.headers)
            answer = upstream.getresponse()
            return answer.status, answer.read(), answer.headers.get("Content-Type", "")
        finally:
            upstream.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HoldingRelay

    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Held(self.command, self.path, dict(self.headers.items()), body)
        if self.server.keeps(request):
            self.close_connection = True
            return
        status, answer, content_type = self.server.hand_on(request)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = _relay

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
