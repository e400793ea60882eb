"""The service while it runs: its listeners, opened and closed on an event loop."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from airflow_provider_bloq.testing.local.accounts import AccountsApi
from airflow_provider_bloq.testing.local.addresses import bind
from airflow_provider_bloq.testing.local.admin import AdminApi
from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.certificates import CertificateAuthority
from airflow_provider_bloq.testing.local.clusters import ClustersApi
from airflow_provider_bloq.testing.local.connect import ConnectService
from airflow_provider_bloq.testing.local.control import Control
from airflow_provider_bloq.testing.local.errors import LocalBloqError
from airflow_provider_bloq.testing.local.grants import TokenApi
from airflow_provider_bloq.testing.local.listener import Listener
from airflow_provider_bloq.testing.local.nodes import NodesApi
from airflow_provider_bloq.testing.local.offers import OffersApi
from airflow_provider_bloq.testing.local.options import LocalBloqOptions
from airflow_provider_bloq.testing.local.pipeline import plain_application, service_application
from airflow_provider_bloq.testing.local.provisioner import Provisioner

__all__ = ["RunningService", "Urls"]

_ACCOUNTS_PREFIX = "/accounts/v1"
_NODES_PREFIX = "/nodes/v1"


@dataclass(frozen=True, slots=True)
class Urls:
    """Where the service is to be reached."""

    accounts: str
    nodes: str
    connect: str
    admin: str
    gateway: str | None


class RunningService:
    """All listeners of one service. Made, opened and closed on one event loop.

    :param options: The switches.
    :param bearer: The bearer of the admin API.
    :param ca_bundle: Where the certificate of the local CA is to be written.
    :raises LocalBloqError: A port is taken.
    """

    def __init__(self, options: LocalBloqOptions, bearer: str, ca_bundle: Path) -> None:
        self._options = options
        self._backend = Backend.fresh(options)
        authority = CertificateAuthority()
        ca_bundle.write_bytes(authority.pem())
        self._connect = ConnectService(self._backend)
        self._provisioner = Provisioner(self._backend, authority, self._connect.lent)
        self.control = Control(self._backend, self._provisioner, self._connect)
        self._bearer = bearer
        self._ca_bundle = ca_bundle
        self._listeners: list[Listener] = []

    async def open(self) -> Urls:
        """Begin to answer and return where.

        :raises LocalBloqError: A port is taken.
        """
        options = self._options
        facts: dict[str, str] = {"ca_bundle": str(self._ca_bundle)}
        admin = AdminApi(self.control, self._bearer, facts).application()
        gateway = options.gateway_port
        urls = Urls(
            accounts=await self._listen("accounts", options.accounts_port, self._accounts()),
            nodes=await self._listen("nodes", options.nodes_port, self._nodes()),
            connect=await self._listen("connect", options.connect_port, self._connect.application()),
            admin=await self._listen("admin", options.admin_port, admin),
            gateway=None if gateway is None else await self._listen("gateway", gateway, self._both()),
        )
        facts |= {
            "accounts_url": urls.accounts,
            "nodes_url": urls.nodes,
            "connect_url": urls.connect,
            "admin_url": urls.admin,
        }
        if urls.gateway is not None:
            facts["gateway_url"] = urls.gateway
        return urls

    async def close(self) -> None:
        """Let go of what faults hold up, stop answering and take all nodes down."""
        self._backend.faults.clear()
        await self._connect.hub.close()
        for listener in self._listeners:
            await listener.close()
        await self._provisioner.close()
        # Nodes may have had its chains.
        await self._connect.close()

    async def _listen(self, name: str, port: int, application: web.Application) -> str:
        listener = Listener(application, self._sockets(name, port))
        self._listeners.append(listener)
        await listener.open()
        host = self._options.host
        return f"http://{f'[{host}]' if ':' in host else host}:{listener.port}"

    def _sockets(self, name: str, port: int) -> list[socket.socket]:
        try:
            sockets = [bind(self._options.host, port)]
        except OSError as error:
            raise LocalBloqError(
                f"{name} cannot listen on {self._options.host} port {port}: {error.strerror}"
            ) from error
        if port and self._options.host == "127.0.0.1":
            # Clients that are told "localhost" may try ::1 first, and not all go on to 127.0.0.1.
            with suppress(OSError):
                sockets.append(bind("::1", port))
        return sockets

    def _accounts(self, prefix: str = "") -> web.Application:
        routes = TokenApi(self._backend).routes() + AccountsApi(self._backend).routes()
        return service_application(self._backend, "accounts", routes, prefix=prefix)

    def _nodes(self, prefix: str = "") -> web.Application:
        routes = [
            *OffersApi(self._backend).routes(),
            *NodesApi(self._backend, self._provisioner).routes(),
            *ClustersApi(self._backend, self._provisioner).routes(),
        ]
        return service_application(self._backend, "nodes", routes, prefix=prefix)

    def _both(self) -> web.Application:
        application = plain_application(self._backend)
        application.add_subapp(_ACCOUNTS_PREFIX, self._accounts(_ACCOUNTS_PREFIX))
        application.add_subapp(_NODES_PREFIX, self._nodes(_NODES_PREFIX))
        return application
