"""The clients of one account, blocking or on an event loop, behind one way to call them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_bloq.accounts.client import AccountsTokenEndpoint
from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.credentials import ClientKeys, KeyReading, Secret
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider
from airflow_provider_bloq.flow.async_driver import AsyncDriver
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.flow.network import Network
from airflow_provider_bloq.flow.retry import RetryPolicy
from airflow_provider_bloq.flow.sync_driver import SyncDriver
from airflow_provider_bloq.nodes.client import (
    AsyncClustersClient,
    AsyncNodesClient,
    ClustersClient,
    NodesClient,
)
from airflow_provider_bloq.nodes.models import Cluster, Node
from airflow_provider_bloq.rpc.certificates import NodeTlsMode
from airflow_provider_bloq.rpc.client import AsyncRpcClient, RpcClient
from airflow_provider_bloq.rpc.endpoint import NodeEndpointResolver, NodeTlsSettings
from tests.support.drivers import PATIENT, DriverKind

__all__ = ["FULL_JITTER", "BothWays", "OpenClients", "opened_clients"]

#: The jitter at its largest, so that a test can name every pause.
FULL_JITTER = RetryPolicy(random=lambda: 1.0)

#: The fixture that opens clients for a service at two URLs.
OpenClients = Callable[..., "BothWays"]


@dataclass(frozen=True)
class InlineKeys:
    """Client keys that do not change."""

    keys: ClientKeys
    description = "a test"

    @property
    def identity(self) -> tuple[str, ...]:
        return ("test", self.keys.client_id)

    def load(self) -> KeyReading:
        return KeyReading(self.keys)

    async def aload(self) -> KeyReading:
        return self.load()

    def forget(self) -> None:
        """Nothing is kept."""


@dataclass
class BothWays:
    """One account's clients. Their operations are called alike, whichever way they are driven.

    :param pauses: Every pause that was made, in seconds; none of them is waited for.
    :param masked: Every secret that was masked.
    :param in_pauses: Is called in each pause.
    """

    nodes: Any
    clusters: Any
    provider: ClientKeysTokenProvider
    origins: TrustedOrigins
    run: Callable[[Flow[Any]], Any]
    make_rpc: Callable[[NodeEndpointResolver], Any]
    pauses: list[float] = field(default_factory=list)
    masked: list[str] = field(default_factory=list)
    in_pauses: Callable[[], object] = lambda: None

    def rpc(
        self,
        subject: Node | Cluster | str,
        *,
        tls: NodeTlsMode = NodeTlsMode.PINNED,
        known: dict[str, frozenset[str]] | None = None,
        local: bool = True,
        pin: str | None = None,
        **options: Any,
    ) -> Any:
        """Return a client for the JSON-RPC of a node, cluster or URL."""
        resolver = NodeEndpointResolver(
            subject,
            nodes=self.nodes.api,
            clusters=self.clusters.api,
            origins=self.origins,
            tls=NodeTlsSettings(tls, known or {}, local),
            fingerprints=frozenset({pin} if pin else ()),
            **options,
        )
        return self.make_rpc(resolver)


class Called:
    """An async client whose operations are called like those of a blocking one."""

    def __init__(self, api: Any, runner: asyncio.Runner) -> None:
        self.api = api
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = getattr(self.api, name)
        return lambda *args, **kwargs: self._runner.run(operation(*args, **kwargs))


class Plain:
    """A blocking client, with the same way to its description."""

    def __init__(self, api: Any) -> None:
        self.api = api

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation: Callable[..., Any] = getattr(self.api, name)
        return operation


@contextmanager
def opened_clients(
    kind: DriverKind,
    accounts_url: str,
    nodes_url: str,
    keys: ClientKeys | None = None,
    *,
    policy: RetryPolicy = FULL_JITTER,
    network: Network = PATIENT,
) -> Iterator[BothWays]:
    """Open the clients of one account; see :class:`BothWays`."""
    source = InlineKeys(keys or ClientKeys("client-id", Secret("client-secret")))
    provider = ClientKeysTokenProvider(AccountsTokenEndpoint(accounts_url, policy), source)
    origins = TrustedOrigins([Origin.of(nodes_url)])
    bearer = BearerAuth(provider, origins)
    description = {"url": nodes_url, "bearer": bearer, "policy": policy}
    pauses: list[float] = []
    masked: list[str] = []
    made: list[BothWays] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        made[0].in_pauses()

    async def apause(seconds: float) -> None:
        await asyncio.to_thread(pause, seconds)

    async def amask(secret: str) -> None:
        masked.append(secret)

    if kind == "blocking":
        driver = SyncDriver(network, mask=masked.append, sleep=pause)
        made.append(
            BothWays(
                Plain(NodesClient(driver.run, **description)),
                Plain(ClustersClient(driver.run, **description)),
                provider,
                origins,
                driver.run,
                lambda resolver: Plain(
                    RpcClient(driver.run, resolver=resolver, bearer=bearer, policy=policy)
                ),
                pauses,
                masked,
            )
        )
        yield made[0]
        driver.close()
        return
    with asyncio.Runner() as runner:
        adriver = AsyncDriver(network, mask=amask, sleep=apause)
        made.append(
            BothWays(
                Called(AsyncNodesClient(adriver.run, **description), runner),
                Called(AsyncClustersClient(adriver.run, **description), runner),
                provider,
                origins,
                lambda flow: runner.run(adriver.run(flow)),
                lambda resolver: Called(
                    AsyncRpcClient(adriver.run, resolver=resolver, bearer=bearer, policy=policy), runner
                ),
                pauses,
                masked,
            )
        )
        yield made[0]
        runner.run(adriver.close())
