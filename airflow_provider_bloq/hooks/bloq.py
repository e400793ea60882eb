"""``BloqHook``: an Airflow connection as clients that authenticate themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.validation import CONNECT

if TYPE_CHECKING:
    import requests
    from requests.auth import AuthBase

    from airflow_provider_bloq.auth.bearer import BearerAuth
    from airflow_provider_bloq.connect.client import ConnectClient
    from airflow_provider_bloq.connection.settings import BloqSettings
    from airflow_provider_bloq.flow.effects import Flow
    from airflow_provider_bloq.flow.events import Observer
    from airflow_provider_bloq.flow.rate_limit import RateLimiter
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
    """Calls Bloq Cloud with access tokens that it keeps fresh.

    The token is shared by all hooks of a task that use the same credential. For code on an event loop
    there is :class:`~airflow_provider_bloq.hooks.bloq_async.BloqAsyncHook`.

    Whatever it does can raise :class:`~airflow_provider_bloq.exceptions.BloqError`. Of these, wrong
    settings and refused client keys are ``AirflowFailException`` as well: Airflow does not retry them.

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

        :raises BloqConfigurationError: Something in the connection is wrong; names every such field.
        """
        from airflow_provider_bloq.connection.reading import read_settings

        with raise_as_fail_exception():
            return read_settings(self.bloq_conn_id)

    @cached_property
    def nodes(self) -> NodesClient:
        """Nodes: create, list, get, delete, logs, and what is on offer."""
        from airflow_provider_bloq.nodes.client import NodesClient

        return NodesClient(run=self.run, **self._service)

    @cached_property
    def clusters(self) -> ClustersClient:
        """Clusters: create, list, get, update, delete, and what is on offer."""
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
        """Return a client for the JSON-RPC of a node or cluster. Nothing is sent until it is used.

        :param node: A node or cluster, the id of one, what ``BloqCreateNodeOperator`` returned, a URL, or
            ``connect:<chain>``, which is :meth:`connect_rpc`. A URL is shown the access token only if it belongs
            to a node that this hook has met by its id, or to the connection's ``rpc_origins``.
        :param tls_fingerprint: SHA-256 fingerprint of the node's certificate (or several), as
            ``BloqCreateNodeOperator`` returns it; not needed for what stands in the connection's
            ``node_fingerprints``, nor for clusters.
        :param port: The port, where it is not the usual one of the chain.
        :param path: The path, likewise.
        """
        from airflow_provider_bloq.hooks._account import locator_for, network_of
        from airflow_provider_bloq.hooks._rpc import HookRpcClient

        with raise_as_fail_exception():
            resolver = locator_for(
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
                auth=self.auth,
                rate_limited=self._rate_limited,
                observe=self._observe,
                resolver=resolver,
                bearer=self.bearer,
                policy=self._account.policy,
            )

    def connect(self, chain: str, network: str | None = None) -> ConnectClient:
        """Return a client for the REST API that Connect has for a chain. Nothing is sent until it is used.

        :param chain: ``btc`` or ``bch``.
        :param network: ``mainnet``, ``testnet`` or ``regtest``: whose addresses are accepted. By default
            ``mainnet``, and ``regtest`` in the environment ``local``.
        """
        from airflow_provider_bloq.connect.client import ConnectClient
        from airflow_provider_bloq.hooks._account import rest_of

        with raise_as_fail_exception():
            rest = rest_of(self.settings, chain, network)
            return ConnectClient(run=self.run, bearer=self.bearer, policy=self._account.policy, **rest)

    def connect_rpc(self, chain: str) -> HookRpcClient:
        """Return a client for the JSON-RPC that Connect has for a chain. Nothing is sent until it is used.

        The credential is a path key: that of the extra ``connect_api_keys``, or the field ``connect_<chain>``
        beside the client keys in Vault. No access token is shown, and no URL that this client shows has the key.

        :param chain: ``eth``, ``etc``, ``kotti``, ``ropsten``, or another that ``connect_api_keys`` has.
        """
        return self.rpc(f"{CONNECT}{chain}")

    def get_conn(self) -> requests.Session:
        """Return a session that puts the access token on requests to Bloq, and to nobody else.

        It answers a 401 by itself, has a timeout, and honours proxies and CA settings.
        """
        return self._session

    def get_access_token(self) -> str:
        """Return a Client Access Token that is good now, masked in logs.

        Ask for it each time it is used: the hook renews it in good time, a copy grows old.
        """
        return self.run(self.bearer.provider.token()).secret.reveal()

    @cached_property
    def auth(self) -> AuthBase:
        """The access token as an ``auth`` for ``requests``; see also ``hooks.auth.BloqAuth``."""
        from airflow_provider_bloq.flow.requests_auth import BearerRequestsAuth

        return self._rate_limited(BearerRequestsAuth(lambda: self.bearer, self.run))

    def test_connection(self) -> tuple[bool, str]:
        """Check the connection stage by stage; for the Test button and ``airflow connections test``.

        Acts by itself: it neither uses nor leaves behind any token in this process.

        :return: Whether it works, and what was found. Holds no secret.
        """
        from airflow_provider_bloq.doctor.checks import check_connection

        return check_connection(self.bloq_conn_id)

    def run(self, flow: Flow[T], /) -> T:
        """Run a flow of the clients with this hook's driver, at the connection's rate limit."""
        with raise_as_fail_exception():
            return self._driver.run(flow if self._rate_limiter is None else self._rate_limiter.over(flow))

    @cached_property
    def _driver(self) -> SyncDriver:
        from airflow_provider_bloq.connection.masking import mask
        from airflow_provider_bloq.flow.sync_driver import SyncDriver
        from airflow_provider_bloq.hooks._account import network_of

        return SyncDriver(network_of(self.settings), mask=mask, observe=self._observe)

    @cached_property
    def _observe(self) -> Observer:
        from airflow_provider_bloq.hooks._telemetry import observer_of

        return observer_of(self.settings)

    @cached_property
    def _account(self) -> Account:
        from airflow_provider_bloq.connection.masking import mask
        from airflow_provider_bloq.flow.retry import RetryPolicy
        from airflow_provider_bloq.hooks._account import Account

        return Account.of(self.settings, mask, RetryPolicy())

    @property
    def _rate_limiter(self) -> RateLimiter | None:
        return self._account.rate_limiter()

    def _rate_limited(self, auth: AuthBase) -> AuthBase:
        if self._rate_limiter is None:
            return auth
        from airflow_provider_bloq.flow.requests_auth import RateLimitedAuth

        return RateLimitedAuth(auth, self._rate_limiter, self.run)

    @cached_property
    def bearer(self) -> BearerAuth:
        """What signs requests: the token provider that this process shares, and whom the token is shown."""
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
