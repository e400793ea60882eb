"""The service while it runs: its listeners, opened and closed on an event loop."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self, TypeVar

from aiohttp import web

from airflow_provider_bloq.testing.local.accounts import AccountsRoutes, TokenRoutes
from airflow_provider_bloq.testing.local.admin import AdminRoutes
from airflow_provider_bloq.testing.local.backend import Backend, CounterSnapshot
from airflow_provider_bloq.testing.local.catalogue import OfferKind
from airflow_provider_bloq.testing.local.certificates import CertificateAuthority
from airflow_provider_bloq.testing.local.clusters import ClustersRoutes
from airflow_provider_bloq.testing.local.connect import ConnectService
from airflow_provider_bloq.testing.local.control import Control, IssuedKeys, LocalAccount
from airflow_provider_bloq.testing.local.errors import LocalBloqError
from airflow_provider_bloq.testing.local.faults import Fault
from airflow_provider_bloq.testing.local.listener import HttpListener, bind
from airflow_provider_bloq.testing.local.nodes import NodesRoutes, OffersRoutes
from airflow_provider_bloq.testing.local.options import LocalBloqOptions
from airflow_provider_bloq.testing.local.pipeline import plain_application, service_application
from airflow_provider_bloq.testing.local.provisioner import Provisioner
from airflow_provider_bloq.testing.local.users import Mail

__all__ = [
    "LocalBloq",
    "RunningService",
    "ServiceUrls",
]


_ACCOUNTS_PREFIX = "/accounts/v1"
_NODES_PREFIX = "/nodes/v1"


@dataclass(frozen=True, slots=True)
class ServiceUrls:
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
        self._provisioner = Provisioner(self._backend, authority, self._connect.shared_chains)
        self.control = Control(self._backend, self._provisioner, self._connect)
        self._bearer = bearer
        self._ca_bundle = ca_bundle
        self._listeners: list[HttpListener] = []

    async def open(self) -> ServiceUrls:
        """Begin to answer and return where.

        :raises LocalBloqError: A port is taken.
        """
        options = self._options
        facts: dict[str, str] = {"ca_bundle": str(self._ca_bundle)}
        admin = AdminRoutes(self.control, self._bearer, facts).application()
        gateway = options.gateway_port
        urls = ServiceUrls(
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
        await self._connect.sessions.close()
        for listener in self._listeners:
            await listener.close()
        await self._provisioner.close()
        # Nodes may have had its chains.
        await self._connect.close()

    async def _listen(self, name: str, port: int, application: web.Application) -> str:
        listener = HttpListener(application, self._sockets(name, port))
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
        routes = TokenRoutes(self._backend).routes() + AccountsRoutes(self._backend).routes()
        return service_application(self._backend, "accounts", routes, prefix=prefix)

    def _nodes(self, prefix: str = "") -> web.Application:
        routes = [
            *OffersRoutes(self._backend).routes(),
            *NodesRoutes(self._backend, self._provisioner).routes(),
            *ClustersRoutes(self._backend, self._provisioner).routes(),
        ]
        return service_application(self._backend, "nodes", routes, prefix=prefix)

    def _both(self) -> web.Application:
        application = plain_application(self._backend)
        application.add_subapp(_ACCOUNTS_PREFIX, self._accounts(_ACCOUNTS_PREFIX))
        application.add_subapp(_NODES_PREFIX, self._nodes(_NODES_PREFIX))
        return application


T = TypeVar("T")


class LocalBloq:
    """A local Bloq service: Accounts, Nodes, Connect, real chains behind them, and levers for tests.

    ::

        with LocalBloq() as bloq:
            account = bloq.create_account("a@example.com", "password", manager=True)
            keys = bloq.create_client_keys(account.id)
            requests.post(bloq.accounts_url + "/auth/token", json={...})

    Every method may be called from any thread.

    :param options: The switches; None for the defaults.
    """

    def __init__(self, options: LocalBloqOptions | None = None) -> None:
        self.options = options or LocalBloqOptions()
        self.admin_bearer = secrets.token_urlsafe(32)
        self._stack = ExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._service: RunningService | None = None
        self._urls: ServiceUrls | None = None
        self._ca_bundle: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start all listeners and return when they answer.

        :raises LocalBloqError: It runs already, or a port is taken.
        """
        if self._loop is not None:
            raise LocalBloqError("this service runs already")
        with ExitStack() as stack:
            directory = stack.enter_context(TemporaryDirectory(prefix="bloq-local-"))
            ca_bundle = Path(directory, "ca.pem")
            loop = asyncio.new_event_loop()
            stack.callback(loop.close)
            thread = threading.Thread(target=loop.run_forever, name="bloq-local", daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(loop.call_soon_threadsafe, loop.stop)
            service = _on(loop, lambda: _made(RunningService, self.options, self.admin_bearer, ca_bundle))
            stack.callback(lambda: _on(loop, service.close))
            urls = _on(loop, service.open)
            self._loop, self._service, self._urls, self._ca_bundle = (loop, service, urls, ca_bundle)
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """Stop all listeners, nodes and chains. Does nothing if the service does not run."""
        self._stack.close()
        self._loop = self._service = self._urls = self._ca_bundle = None

    @property
    def accounts_url(self) -> str:
        """Base URL of Accounts."""
        return self._running(self._urls).accounts

    @property
    def nodes_url(self) -> str:
        """Base URL of Nodes."""
        return self._running(self._urls).nodes

    @property
    def connect_url(self) -> str:
        """Root URL of Connect; the Host header tells which chain is meant (``bch.localhost``), here Bitcoin."""
        return self._running(self._urls).connect

    @property
    def admin_url(self) -> str:
        """Base URL of the admin API; see :attr:`admin_bearer`."""
        return self._running(self._urls).admin

    @property
    def gateway_url(self) -> str | None:
        """Base URL of the port that serves both services under prefixes, if there is one."""
        return self._running(self._urls).gateway

    @property
    def ca_bundle(self) -> Path:
        """PEM file of the CA that signs the certificates of clusters."""
        return self._running(self._ca_bundle)

    def create_account(self, email: str, password: str, *, manager: bool = False) -> LocalAccount:
        """Open a verified account.

        :param manager: Whether its account tokens carry ``manager`` in ``aud``.
        :raises LocalBloqConfigurationError: There is one of that e-mail address already.
        """
        return self._call(lambda control: control.create_account(email, password, manager))

    def create_client_keys(self, user: str) -> IssuedKeys:
        """Make client keys for a user, given by id or e-mail address.

        :raises LocalBloqNotFound: There is no such user.
        """
        return self._call(lambda control: control.create_client_keys(user))

    def delete_client_keys(self, client_id: str) -> None:
        """Delete client keys; their refresh tokens die at once.

        :raises LocalBloqNotFound: There are no such keys.
        """
        self._call(lambda control: control.delete_client_keys(client_id))

    def revoke_refresh_tokens(self, client_id: str | None = None) -> int:
        """End live refresh tokens, all or those of one client key; returns how many."""
        return self._call(lambda control: control.revoke_refresh_tokens(client_id))

    def revoke_access_tokens(self, client_id: str | None = None) -> int:
        """End live access tokens: those of one client key, or all, accounts' included; returns how many."""
        return self._call(lambda control: control.revoke_access_tokens(client_id))

    def counters(self) -> CounterSnapshot:
        """Return the counts as they stand."""
        return self._call(Control.counters)

    def reset_counters(self) -> None:
        """Begin to count anew."""
        self._call(Control.reset_counters)

    def where_seen(self, token: str) -> frozenset[str]:
        """Return the listeners (``accounts``, ``nodes``, ``connect``, ids of nodes, …) that a token arrived at."""
        return self._call(lambda control: control.where_seen(token))

    def add_fault(self, fault: Fault) -> str:
        """Put a fault in force and return its id."""
        return self._call(lambda control: control.add_fault(fault))

    def clear_faults(self, fault_id: str | None = None) -> None:
        """Take one fault, or all, out of force; what it holds up is let go.

        :raises LocalBloqNotFound: There is no such fault.
        """
        self._call(lambda control: control.clear_faults(fault_id))

    def faults_struck(self) -> dict[str, int]:
        """Return how often each fault has struck, by its id."""
        return self._call(lambda control: {armed.id: armed.struck for armed in control.faults()})

    def now(self) -> float:
        """Return the service's time in seconds since the epoch."""
        return self._call(lambda control: control.backend.clock.now())

    def advance_clock(self, seconds: float) -> float:
        """Move the service's clock forward, or back, and return its new time."""
        return self._call(lambda control: control.advance_clock(seconds))

    def finish_provisioning(self, deployment_id: str | None = None) -> int:
        """End the provisioning of one, or all, nodes and clusters now; returns how many there were."""
        return self._await(lambda control: control.finish_provisioning(deployment_id))

    def finish_updates(self, cluster_id: str | None = None) -> int:
        """Complete the service update of one, or all, clusters now; returns how many there were."""
        return self._call(lambda control: control.finish_updates(cluster_id))

    def replace_node_certificate(self, deployment_id: str) -> str:
        """Give a running node or cluster a new certificate and return its SHA-256 fingerprint."""
        return self._call(lambda control: control.replace_node_certificate(deployment_id))

    def node_fingerprint(self, deployment_id: str) -> str:
        """Return the SHA-256 fingerprint of the certificate that a running node or cluster shows."""
        return self._call(lambda control: control.node_fingerprint(deployment_id))

    def service_id(self, chain: str = "eth", network: str = "mainnet", kind: OfferKind = "nodes") -> str:
        """Return the id of a service to order."""
        return self._call(lambda control: control.service_id(chain, network, kind))

    def disable_service(self, service_id: str) -> None:
        """Take a service off the market."""
        self._call(lambda control: control.disable_service(service_id))

    def create_connect_key(self, chain: str = "eth") -> str:
        """Make a path key for Connect's JSON-RPC of a chain.

        :raises LocalBloqNotFound: Connect has no JSON-RPC of that chain.
        """
        return self._call(lambda control: control.create_connect_key(chain))

    def delete_connect_key(self, key: str) -> None:
        """Delete a path key of Connect.

        :raises LocalBloqNotFound: There is no such key.
        """
        self._call(lambda control: control.delete_connect_key(key))

    def stream_connections(self) -> int:
        """Return how many connections of Connect's stream are open."""
        return self._call(Control.stream_connections)

    def drop_streams(self) -> int:
        """Cut all connections of Connect's stream without a word; returns how many there were."""
        return self._call(Control.drop_streams)

    def hold_stream_events(self) -> None:
        """Keep the events of Connect's stream back until :meth:`release_stream_events`."""
        self._call(Control.hold_stream_events)

    def release_stream_events(self) -> None:
        """Let go of the events that were kept back, to those who are subscribed now."""
        self._call(Control.release_stream_events)

    def outbox(self) -> list[Mail]:
        """Return the verification mails that Bloq would have sent."""
        return self._call(Control.outbox)

    def _call(self, act: Callable[[Control], T]) -> T:
        return self._await(lambda control: _made(act, control))

    def _await(self, act: Callable[[Control], Awaitable[T]]) -> T:
        control = self._running(self._service).control
        return _on(self._running(self._loop), lambda: act(control))

    @staticmethod
    def _running(part: T | None) -> T:
        if part is None:
            raise LocalBloqError("this service does not run: use it as a context manager, or call start()")
        return part


async def _made(make: Callable[..., T], *arguments: object) -> T:
    return make(*arguments)


def _on(loop: asyncio.AbstractEventLoop, act: Callable[[], Awaitable[T]]) -> T:
    async def acting() -> T:
        return await act()

    return asyncio.run_coroutine_threadsafe(acting(), loop).result()
