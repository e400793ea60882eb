"""``BloqAsyncHook``: an Airflow connection as clients for an event loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self, TypeVar

from airflow_provider_bloq.arguments import CONNECT
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.hooks.bloq import BloqHook

if TYPE_CHECKING:
    from airflow_provider_bloq.connection.settings import BloqSettings
    from airflow_provider_bloq.flow.effects import Flow
    from airflow_provider_bloq.hooks._connect import HookConnectClient
    from airflow_provider_bloq.nodes.client import AsyncClustersClient, AsyncNodesClient
    from airflow_provider_bloq.nodes.models import Cluster, Node
    from airflow_provider_bloq.rpc.client import AsyncRpcClient

__all__ = [
    "BloqAsyncHook",
]


T = TypeVar("T")


class BloqAsyncHook:
    """Calls Bloq Cloud from an event loop without blocking it.

    Use it in ``async with``: entering reads the connection, leaving closes the sessions. Hooks of one process that
    use the same credential share one token::

        async with BloqAsyncHook("bloq_default") as bloq:
            nodes = await bloq.nodes.list()

    :param bloq_conn_id: Id of a connection of the type ``bloq``.
    """

    settings: BloqSettings
    #: Equal for connections with the same credential. Hooks with the same key share one token.
    credential_key: str
    nodes: AsyncNodesClient
    clusters: AsyncClustersClient

    def __init__(self, bloq_conn_id: str = BloqHook.default_conn_name) -> None:
        self.bloq_conn_id = bloq_conn_id

    async def __aenter__(self) -> Self:
        from airflow_provider_bloq.auth.cache import shared_providers
        from airflow_provider_bloq.connection.reading import amask, aread_settings, mask
        from airflow_provider_bloq.flow.async_driver import AsyncDriver
        from airflow_provider_bloq.flow.retry import RetryPolicy
        from airflow_provider_bloq.flow.threads import in_thread
        from airflow_provider_bloq.hooks._account import Account, network_of
        from airflow_provider_bloq.hooks._telemetry import observer_of
        from airflow_provider_bloq.nodes.client import AsyncClustersClient, AsyncNodesClient

        async with AsyncExitStack() as opened:
            with raise_as_fail_exception():
                self.settings = await aread_settings(self.bloq_conn_id)
                # Called in the thread that reads Vault, never on the loop.
                self._account = Account.of(self.settings, mask, RetryPolicy())
                # VaultHook, which reads the Vault connection, blocks.
                self.credential_key = await in_thread(lambda: self._account.key)
            self._bearer = self._account.bearer(
                opened.enter_context(shared_providers.lease(self.credential_key, self._account.provider))
            )
            self._driver = AsyncDriver(
                network_of(self.settings), mask=amask, observe=observer_of(self.settings)
            )
            opened.push_async_callback(self._driver.close)
            service = {"url": self.settings.nodes_url, "bearer": self._bearer, "policy": self._account.policy}
            self.nodes = AsyncNodesClient(run=self.run, **service)
            self.clusters = AsyncClustersClient(run=self.run, **service)
            self._opened = opened.pop_all()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._opened.aclose()

    def rpc(
        self,
        node: Node | Cluster | Mapping[str, Any] | str,
        *,
        tls_fingerprint: str | Iterable[str] | None = None,
        port: int | None = None,
        path: str | None = None,
    ) -> AsyncRpcClient:
        """Return a client for the JSON-RPC of a node or cluster; see :meth:`.BloqHook.rpc`."""
        from airflow_provider_bloq.hooks._account import endpoint_resolver
        from airflow_provider_bloq.rpc.client import AsyncRpcClient

        with raise_as_fail_exception():
            resolver = endpoint_resolver(
                node,
                self._account,
                nodes=self.nodes,
                clusters=self.clusters,
                bearer=self._bearer,
                tls_fingerprint=tls_fingerprint,
                port=port,
                path=path,
            )
        return AsyncRpcClient(
            run=self.run, resolver=resolver, bearer=self._bearer, policy=self._account.policy
        )

    def connect(self, chain: str, network: str | None = None) -> HookConnectClient:
        """Return a client for Connect's REST API and its stream; see :meth:`.BloqHook.connect`."""
        from airflow_provider_bloq.connect.stream import ReconnectingStream
        from airflow_provider_bloq.hooks._account import rest_arguments, stream_endpoint
        from airflow_provider_bloq.hooks._connect import HookConnectClient

        with raise_as_fail_exception():
            rest = rest_arguments(self.settings, chain, network)
        stream = ReconnectingStream(
            stream_endpoint(self.settings, chain, self._driver), self._bearer, self.run
        )
        return HookConnectClient(
            stream=stream, run=self.run, bearer=self._bearer, policy=self._account.policy, **rest
        )

    def connect_rpc(self, chain: str) -> AsyncRpcClient:
        """Return a client for Connect's JSON-RPC; see :meth:`.BloqHook.connect_rpc`."""
        return self.rpc(f"{CONNECT}{chain}")

    async def get_access_token(self) -> str:
        """Return a valid Client Access Token, masked in logs. Call it each time: a stored copy expires."""
        token = await self.run(self._bearer.provider.token())
        return token.secret.reveal()

    async def run(self, flow: Flow[T], /) -> T:
        """Run a flow with this hook's driver, within the connection's rate limit."""
        rate_limiter = self._account.rate_limiter()
        with raise_as_fail_exception():
            return await self._driver.run(flow if rate_limiter is None else rate_limiter.over(flow))
