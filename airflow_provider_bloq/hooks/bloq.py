"""``BloqHook``: an Airflow connection as clients that authenticate themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_bloq.arguments import CONNECT
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception

if TYPE_CHECKING:
    import requests
    from requests.auth import AuthBase

    from airflow_provider_bloq.auth.bearer import BearerAuth
    from airflow_provider_bloq.connect.client import ConnectClient
    from airflow_provider_bloq.connection.settings import BloqSettings
    from airflow_provider_bloq.flow.effects import Flow
    from airflow_provider_bloq.flow.events import Observer
    from airflow_provider_bloq.flow.retry import RateLimiter
    from airflow_provider_bloq.flow.sync_driver import SyncDriver
    from airflow_provider_bloq.hooks._account import Account
    from airflow_provider_bloq.hooks._rpc import HookRpcClient
    from airflow_provider_bloq.nodes.client import ClustersClient, NodesClient
    from airflow_provider_bloq.nodes.models import Cluster, Node

__all__ = [
    "BloqHook",
]


T = TypeVar("T")


class BloqHook(BaseHook):
    """Calls Bloq Cloud, and renews the access token.

    All hooks of a task that use the same credential share one token. Code on an event loop uses
    :class:`~airflow_provider_bloq.hooks.bloq_async.BloqAsyncHook`.

    Any method may raise :class:`~airflow_provider_bloq.exceptions.BloqError`. Errors that a retry cannot help, such
    as wrong settings and rejected client keys, are also ``AirflowFailException``: Airflow does not retry them.

    :param bloq_conn_id: Id of a connection of the type ``bloq``.
    """

    conn_name_attr = "bloq_conn_id"
    default_conn_name = "bloq_default"
    conn_type = "bloq"
    hook_name = "Bloq"

    def __init__(self, bloq_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bloq_conn_id = bloq_conn_id

    @cached_property
    def settings(self) -> BloqSettings:
        """The connection's settings, read from Airflow once per hook.

        :raises BloqConfigurationError: Names every field of the connection that is wrong.
        """
        from airflow_provider_bloq.connection.reading import read_settings

        with raise_as_fail_exception():
            return read_settings(self.bloq_conn_id)

    @cached_property
    def nodes(self) -> NodesClient:
        """Nodes: create, list, get, delete, read logs, list services."""
        from airflow_provider_bloq.nodes.client import NodesClient

        return NodesClient(run=self.run, **self._service)

    @cached_property
    def clusters(self) -> ClustersClient:
        """Clusters: create, list, get, update, delete, list services."""
        from airflow_provider_bloq.nodes.client import ClustersClient

        return ClustersClient(run=self.run, **self._service)

    def rpc(
        self,
        node: Node | Cluster | Mapping[str, Any] | str,
        *,
        tls_fingerprint: str | Iterable[str] | None = None,
        port: int | None = None,
        path: str | None = None,
    ) -> HookRpcClient:
        """Return a client for the JSON-RPC of a node or cluster. Sends nothing yet.

        :param node: A node or cluster, its id, the result of ``BloqCreateNodeOperator``, a URL, or
            ``connect:<chain>`` as for :meth:`connect_rpc`. A URL gets the access token only if it belongs to a node
            that this hook has looked up by its id, or to the connection's ``rpc_origins``.
        :param tls_fingerprint: SHA-256 fingerprint of the node's certificate (or several), as
            ``BloqCreateNodeOperator`` returns it. Not needed for clusters, nor if the connection's
            ``node_fingerprints`` has it.
        :param port: The port, if it is not the chain's default.
        :param path: The path, if it is not the chain's default.
        """
        from airflow_provider_bloq.hooks._account import endpoint_resolver, network_of
        from airflow_provider_bloq.hooks._rpc import HookRpcClient

        with raise_as_fail_exception():
            resolver = endpoint_resolver(
                node,
                self._account,
                nodes=self.nodes,
                clusters=self.clusters,
                bearer=self.bearer,
                tls_fingerprint=tls_fingerprint,
                port=port,
                path=path,
            )
            return HookRpcClient(
                run=self.run,
                network=network_of(self.settings),
                auth=lambda basic: self.auth if basic is None else self._rate_limited(basic),
                observe=self._observe,
                resolver=resolver,
                bearer=self.bearer,
                policy=self._account.policy,
            )

    def connect(self, chain: str, network: str | None = None) -> ConnectClient:
        """Return a client for a chain's REST API in Connect. Sends nothing yet.

        :param chain: ``btc`` or ``bch``.
        :param network: The network of the addresses: ``mainnet``, ``testnet`` or ``regtest``. By default
            ``mainnet``, or ``regtest`` in the environment ``local``.
        """
        from airflow_provider_bloq.connect.client import ConnectClient
        from airflow_provider_bloq.hooks._account import rest_arguments

        with raise_as_fail_exception():
            rest = rest_arguments(self.settings, chain, network)
            return ConnectClient(run=self.run, bearer=self.bearer, policy=self._account.policy, **rest)

    def connect_rpc(self, chain: str) -> HookRpcClient:
        """Return a client for a chain's JSON-RPC in Connect. Sends nothing yet.

        The credential is a path key, from the extra ``connect_api_keys`` or from the field ``connect_<chain>``
        beside the client keys in Vault. It appears in no URL that this client shows. No access token is sent.

        :param chain: ``eth``, ``etc``, ``kotti``, ``ropsten``, or another chain in ``connect_api_keys``.
        """
        return self.rpc(f"{CONNECT}{chain}")

    def get_conn(self) -> requests.Session:
        """Return a session that adds the access token to requests to Bloq only.

        It handles a 401, has a timeout, and honours proxy and CA settings.
        """
        return self._session

    def get_access_token(self) -> str:
        """Return a valid Client Access Token, masked in logs. Call it each time: a stored copy expires."""
        return self.run(self.bearer.provider.token()).secret.reveal()

    @cached_property
    def auth(self) -> AuthBase:
        """An ``auth`` for ``requests`` with the access token; see also ``hooks.auth.BloqAuth``."""
        from airflow_provider_bloq.flow.session import BearerRequestsAuth

        return self._rate_limited(BearerRequestsAuth(lambda: self.bearer, self.run))

    def test_connection(self) -> tuple[bool, str]:
        """Check the connection stage by stage, for the Test button and ``airflow connections test``.

        Neither uses nor leaves a cached token of this process.

        :return: Whether it works, and the report, without secrets.
        """
        from airflow_provider_bloq.doctor.checks import check_connection

        return check_connection(self.bloq_conn_id)

    def run(self, flow: Flow[T], /) -> T:
        """Run a flow with this hook's driver, within the connection's rate limit."""
        with raise_as_fail_exception():
            return self._driver.run(flow if self._rate_limiter is None else self._rate_limiter.over(flow))

    @cached_property
    def _driver(self) -> SyncDriver:
        from airflow_provider_bloq.connection.reading import mask
        from airflow_provider_bloq.flow.sync_driver import SyncDriver
        from airflow_provider_bloq.hooks._account import network_of

        return SyncDriver(network_of(self.settings), mask=mask, observe=self._observe)

    @cached_property
    def _observe(self) -> Observer:
        from airflow_provider_bloq.hooks._telemetry import observer_of

        return observer_of(self.settings)

    @cached_property
    def _account(self) -> Account:
        from airflow_provider_bloq.connection.reading import mask
        from airflow_provider_bloq.flow.retry import RetryPolicy
        from airflow_provider_bloq.hooks._account import Account

        return Account.of(self.settings, mask, RetryPolicy())

    @property
    def _rate_limiter(self) -> RateLimiter | None:
        return self._account.rate_limiter()

    def _rate_limited(self, auth: AuthBase) -> AuthBase:
        if self._rate_limiter is None:
            return auth
        from airflow_provider_bloq.flow.session import RateLimitedAuth

        return RateLimitedAuth(auth, self._rate_limiter, self.run)

    @cached_property
    def bearer(self) -> BearerAuth:
        """Signs requests: the process-wide token provider, and the origins that may get the token."""
        from airflow_provider_bloq.auth.cache import shared_providers

        with raise_as_fail_exception():
            account = self._account
            return account.bearer(shared_providers.hold(account.key, account.provider))

    @cached_property
    def _session(self) -> requests.Session:
        from airflow_provider_bloq.flow.session import BloqSession
        from airflow_provider_bloq.hooks._account import network_of

        return BloqSession(network_of(self.settings), self.auth, observe=self._observe)

    @property
    def _service(self) -> dict[str, Any]:
        return {"url": self.settings.nodes_url, "bearer": self.bearer, "policy": self._account.policy}
