"""One application on bound sockets."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence

from aiohttp import web

from airflow_provider_bloq.testing.local.addresses import BACKLOG

__all__ = ["Listener"]

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
