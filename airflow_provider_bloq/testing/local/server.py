"""The local Bloq service: its listeners on an event loop, and the class that runs them in a thread."""

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
    """The URLs of a service."""

    accounts: str
    nodes: str
    connect: str
    admin: str
    gateway: str | None


class RunningService:
    """All listeners of one service. Used on one event loop.

    :param options: The options.
    :param bearer: The bearer token of the admin API.
    :param ca_bundle: File for the certificate of the local CA.
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
        """Start to serve and return the URLs.

        :raises LocalBloqError: A port is in use.
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
        """End stalled requests, stop serving and stop all nodes."""
        self._backend.faults.clear()
        await self._connect.sessions.close()
        for listener in self._listeners:
            await listener.close()
        await self._provisioner.close()
        # After the nodes, which may use its chains.
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
            # For "localhost" clients may try ::1 first, and not all try 127.0.0.1 afterwards.
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
    """A local Bloq service: Accounts, Nodes and Connect with real chains, and methods to control them in tests.

    ::

        with LocalBloq() as bloq:
            account = bloq.create_account("a@example.com", "password", manager=True)
            keys = bloq.create_client_keys(account.id)
            requests.post(bloq.accounts_url + "/auth/token", json={...})

    A context manager. All methods may be called from any thread.

    :param options: The options; None for the defaults.
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
        """Start all listeners and wait until they answer.

        :raises LocalBloqError: It is already running, or a port is in use.
        """
        if self._loop is not None:
            raise LocalBloqError("this service is already running")
        with ExitStack() as stack:
            directory = stack.enter_context(TemporaryDirectory(prefix="bloq-local-"))
            ca_bundle = Path(directory, "ca.pem")
            loop = asyncio.new_event_loop()
            stack.callback(loop.close)
            thread = threading.Thread(target=loop.run_forever, name="bloq-local", daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(loop.call_soon_threadsafe, loop.stop)
            service = _run_on(
                loop, lambda: _as_coroutine(RunningService, self.options, self.admin_bearer, ca_bundle)
            )
            stack.callback(lambda: _run_on(loop, service.close))
            urls = _run_on(loop, service.open)
            self._loop, self._service, self._urls, self._ca_bundle = (loop, service, urls, ca_bundle)
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """Stop all listeners, nodes and chains. Does nothing if the service is not running."""
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
        """Root URL of Connect for Bitcoin; the Host header chooses another chain (``bch.localhost``)."""
        return self._running(self._urls).connect

    @property
    def admin_url(self) -> str:
        """Base URL of the admin API; see :attr:`admin_bearer`."""
        return self._running(self._urls).admin

    @property
    def gateway_url(self) -> str | None:
        """Base URL of the port that serves Accounts and Nodes under prefixes; None if there is none."""
        return self._running(self._urls).gateway

    @property
    def ca_bundle(self) -> Path:
        """PEM file of the CA that signs the certificates of clusters."""
        return self._running(self._ca_bundle)

    def create_account(self, email: str, password: str, *, manager: bool = False) -> LocalAccount:
        """Create a verified account.

        :param manager: Whether its account tokens have ``manager`` in ``aud``.
        :raises LocalBloqConfigurationError: There is an account with that e-mail address.
        """
        return self._call(lambda control: control.create_account(email, password, manager))

    def create_client_keys(self, user: str) -> IssuedKeys:
        """Create client keys for a user, given by id or e-mail address.

        :raises LocalBloqNotFound: There is no such user.
        """
        return self._call(lambda control: control.create_client_keys(user))

    def delete_client_keys(self, client_id: str) -> None:
        """Delete client keys and revoke their refresh tokens.

        :raises LocalBloqNotFound: There are no such keys.
        """
        self._call(lambda control: control.delete_client_keys(client_id))

    def revoke_refresh_tokens(self, client_id: str | None = None) -> int:
        """Revoke all live refresh tokens, or those of one client key; return how many there were."""
        return self._call(lambda control: control.revoke_refresh_tokens(client_id))

    def revoke_access_tokens(self, client_id: str | None = None) -> int:
        """Revoke all live access and account tokens, or those of one client key; return how many there were."""
        return self._call(lambda control: control.revoke_access_tokens(client_id))

    def counters(self) -> CounterSnapshot:
        """Return the current counters."""
        return self._call(Control.counters)

    def reset_counters(self) -> None:
        """Set all counters to zero."""
        self._call(Control.reset_counters)

    def where_seen(self, token: str) -> frozenset[str]:
        """Return the listeners (``accounts``, ``nodes``, ``connect``, ids of nodes, …) that received a token."""
        return self._call(lambda control: control.where_seen(token))

    def add_fault(self, fault: Fault) -> str:
        """Add a fault and return its id."""
        return self._call(lambda control: control.add_fault(fault))

    def clear_faults(self, fault_id: str | None = None) -> None:
        """Clear one fault or all, and end the stalls and delays that they cause.

        :raises LocalBloqNotFound: There is no such fault.
        """
        self._call(lambda control: control.clear_faults(fault_id))

    def faults_struck(self) -> dict[str, int]:
        """Return how often each fault has struck, by id."""
        return self._call(lambda control: {armed.id: armed.struck for armed in control.faults()})

    def now(self) -> float:
        """Return the service's time in seconds since the epoch."""
        return self._call(lambda control: control.backend.clock.now())

    def advance_clock(self, seconds: float) -> float:
        """Move the service's clock forward, or back if negative, and return its new time."""
        return self._call(lambda control: control.advance_clock(seconds))

    def finish_provisioning(self, deployment_id: str | None = None) -> int:
        """End the provisioning of one node or cluster, or of all; return how many there were."""
        return self._await(lambda control: control.finish_provisioning(deployment_id))

    def finish_updates(self, cluster_id: str | None = None) -> int:
        """Complete the service update of one cluster, or of all; return how many there were."""
        return self._call(lambda control: control.finish_updates(cluster_id))

    def replace_node_certificate(self, deployment_id: str) -> str:
        """Replace the certificate of a running node or cluster, and return its SHA-256 fingerprint."""
        return self._call(lambda control: control.replace_node_certificate(deployment_id))

    def node_fingerprint(self, deployment_id: str) -> str:
        """Return the SHA-256 fingerprint of the certificate of a running node or cluster."""
        return self._call(lambda control: control.node_fingerprint(deployment_id))

    def service_id(self, chain: str = "eth", network: str = "mainnet", kind: OfferKind = "nodes") -> str:
        """Return the id of the first service for a chain that is not disabled."""
        return self._call(lambda control: control.service_id(chain, network, kind))

    def disable_service(self, service_id: str) -> None:
        """Disable a service; its nodes and clusters keep running."""
        self._call(lambda control: control.disable_service(service_id))

    def create_connect_key(self, chain: str = "eth") -> str:
        """Create a path key for Connect's JSON-RPC of a chain.

        :raises LocalBloqNotFound: Connect has no JSON-RPC for that chain.
        """
        return self._call(lambda control: control.create_connect_key(chain))

    def delete_connect_key(self, key: str) -> None:
        """Delete a path key of Connect.

        :raises LocalBloqNotFound: There is no such key.
        """
        self._call(lambda control: control.delete_connect_key(key))

    def stream_connections(self) -> int:
        """Return the number of open connections of Connect's stream."""
        return self._call(Control.stream_connections)

    def drop_streams(self) -> int:
        """Cut all connections of Connect's stream without notice; return how many there were."""
        return self._call(Control.drop_streams)

    def hold_stream_events(self) -> None:
        """Hold the events of Connect's stream until :meth:`release_stream_events`."""
        self._call(Control.hold_stream_events)

    def release_stream_events(self) -> None:
        """Send the events that were held to the current subscribers."""
        self._call(Control.release_stream_events)

    def outbox(self) -> list[Mail]:
        """Return the verification mails."""
        return self._call(Control.outbox)

    def _call(self, act: Callable[[Control], T]) -> T:
        return self._await(lambda control: _as_coroutine(act, control))

    def _await(self, act: Callable[[Control], Awaitable[T]]) -> T:
        control = self._running(self._service).control
        return _run_on(self._running(self._loop), lambda: act(control))

    @staticmethod
    def _running(part: T | None) -> T:
        if part is None:
            raise LocalBloqError("this service is not running: use it as a context manager, or call start()")
        return part


async def _as_coroutine(make: Callable[..., T], *arguments: object) -> T:
    return make(*arguments)


def _run_on(loop: asyncio.AbstractEventLoop, act: Callable[[], Awaitable[T]]) -> T:
    async def acting() -> T:
        return await act()

    return asyncio.run_coroutine_threadsafe(acting(), loop).result()
