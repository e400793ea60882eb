"""Starts and stops nodes and clusters: address, certificate, gateway, chain."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping

import aiohttp

from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.catalogue import SIDECAR_PORT, ServiceOffer, rpc_port
from airflow_provider_bloq.testing.local.certificates import (
    CertificateAuthority,
    KeyedCertificate,
    self_signed,
)
from airflow_provider_bloq.testing.local.errors import LocalBloqNotFound
from airflow_provider_bloq.testing.local.fleet import AuthType, LocalCluster, LocalNode, RpcAuth
from airflow_provider_bloq.testing.local.gateway import Gateway
from airflow_provider_bloq.testing.local.listener import BoundAddress, NoFreeAddress, bind_address
from airflow_provider_bloq.testing.local.options import Upstream
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.upstreams import (
    LazyUpstream,
    NodeUpstream,
    RunningUpstream,
    SharedUpstream,
    default_upstreams,
)

__all__ = [
    "Provisioner",
]


class Provisioner:
    """Owns the gateways of all running nodes and clusters. Used on the event loop only.

    :param backend: The state of the service.
    :param authority: Signs the certificates of clusters.
    :param shared_chains: Chains of Connect, by name, for nodes for which the options choose none.
    """

    def __init__(
        self, backend: Backend, authority: CertificateAuthority, shared_chains: Mapping[str, LazyUpstream]
    ) -> None:
        self._backend = backend
        self._authority = authority
        # No limit: the chain decides how many calls it answers at once.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        self._gateways: dict[str, Gateway] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        chosen = backend.options.upstreams
        self._upstreams: Mapping[str, Callable[[], Upstream]] = (
            default_upstreams() if chosen is None else chosen
        )
        self._shared_chains = shared_chains if chosen is None else {}

    async def create_node(
        self, owner_id: str, offer: ServiceOffer, auth_type: AuthType, image: str | None = None
    ) -> LocalNode:
        """Create a node; returns when its chain has started, or at once if provisioning takes time.

        :raises ApiProblem: No address is free (503).
        """
        place = self._place(offer)
        now = self._backend.clock.now()
        node = LocalNode(
            id=LocalNode.new_id(),
            owner_id=owner_id,
            offer=offer,
            auth=RpcAuth.make(auth_type),
            address=place.address,
            created_at=now,
            updated_at=now,
            ready_at=now + self._backend.options.provision_seconds,
            image=image,
        )
        await self._start_deployment(node, place, self_signed(place.ip))
        return node

    async def create_cluster(
        self, owner_id: str, offer: ServiceOffer, auth_type: AuthType, capacity: int, alias: str | None
    ) -> LocalCluster:
        """Create a cluster; returns like :meth:`create_node`.

        :raises ApiProblem: No address is free (503).
        """
        place = self._place(offer)
        now = self._backend.clock.now()
        cluster = LocalCluster(
            id=LocalCluster.new_id(),
            owner_id=owner_id,
            offer=offer,
            auth=RpcAuth.make(auth_type),
            address=place.address,
            created_at=now,
            updated_at=now,
            ready_at=now + self._backend.options.provision_seconds,
            name=f"{offer.chain}-{secrets.token_hex(4)}",
            alias=alias,
            capacity=capacity,
        )
        await self._start_deployment(cluster, place, self._authority.sign(place.ip))
        return cluster

    async def stop(self, deployment: LocalNode | LocalCluster) -> None:
        """Stop a node or cluster and release its address."""
        now = self._backend.clock.now()
        deployment.stopped_at = deployment.updated_at = now
        deployment.log.append("stopped")
        await self._stop_deployment(deployment.id)

    async def finish(self, deployment: LocalNode | LocalCluster) -> None:
        """End the provisioning of a node or cluster now, as soon as its chain runs."""
        deployment.ready_at = min(deployment.ready_at, self._backend.clock.now())
        starting = self._starting.get(deployment.id)
        if starting is not None:
            await asyncio.shield(starting)

    def replace_certificate(self, deployment_id: str) -> str:
        """Replace the certificate of a running node or cluster, and return its SHA-256 fingerprint.

        :raises LocalBloqNotFound: There is no such running node or cluster.
        """
        gateway = self._gateways.get(deployment_id)
        if gateway is None:
            raise LocalBloqNotFound(f"running node or cluster {deployment_id}")
        is_node = self._backend.fleet.node(deployment_id) is not None
        gateway.show(self_signed(gateway.ip) if is_node else self._authority.sign(gateway.ip))
        return gateway.certificate.fingerprint

    def fingerprint(self, deployment_id: str) -> str:
        """Return the SHA-256 fingerprint of the certificate of a running node or cluster.

        :raises LocalBloqNotFound: There is no such running node or cluster.
        """
        if deployment_id not in self._gateways:
            raise LocalBloqNotFound(f"running node or cluster {deployment_id}")
        return self._gateways[deployment_id].certificate.fingerprint

    async def close(self) -> None:
        """Stop all nodes and clusters."""
        await asyncio.gather(*(self._stop_deployment(name) for name in list(self._gateways)))
        await self._session.close()

    def _place(self, offer: ServiceOffer) -> BoundAddress:
        options = self._backend.options
        try:
            return bind_address(
                rpc_port(offer.chain, offer.network),
                (SIDECAR_PORT,) if options.sidecar else (),
                own_ip=options.node_address == "own-ip",
            )
        except NoFreeAddress as error:
            raise ApiProblem(503, "NoCapacity", str(error)) from error

    def _upstream_for(self, offer: ServiceOffer) -> NodeUpstream:
        shared = self._shared_chains.get(offer.chain)
        if shared is None:
            return RunningUpstream(offer.chain, self._upstreams.get(offer.chain))
        # Connect serves the main network; a node of another network has another chain.
        return SharedUpstream(shared) if offer.network == "mainnet" else shared.copy()

    async def _start_deployment(
        self, deployment: LocalNode | LocalCluster, place: BoundAddress, certificate: KeyedCertificate
    ) -> None:
        upstream = self._upstream_for(deployment.offer)
        gateway = Gateway(self._backend, deployment, place, certificate, upstream, self._session)
        # Before the first await, so that two concurrent creates cannot both pass the quota.
        self._backend.fleet.add(deployment)
        self._gateways[deployment.id] = gateway
        deployment.log.append(f"created {deployment.offer.software} at {deployment.address}")
        self._starting[deployment.id] = asyncio.create_task(self._start(deployment, gateway))
        if deployment.ready_at <= self._backend.clock.now():
            await asyncio.shield(self._starting[deployment.id])

    async def _start(self, deployment: LocalNode | LocalCluster, gateway: Gateway) -> None:
        await gateway.open()
        await gateway.upstream.start()
        deployment.chain_ready = True
        deployment.log.append("started")

    async def _stop_deployment(self, deployment_id: str) -> None:
        starting = self._starting.pop(deployment_id, None)
        if starting is not None:
            await asyncio.shield(starting)
        gateway = self._gateways.pop(deployment_id, None)
        if gateway is not None:
            await gateway.close()
