"""Brings nodes and clusters up and takes them down: address, certificate, gateway, chain."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping

import aiohttp

from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.catalogue import SIDECAR_PORT, Offer, rpc_port
from airflow_provider_bloq.testing.local.certificates import (
    CertificateAuthority,
    KeyedCertificate,
    self_signed,
)
from airflow_provider_bloq.testing.local.errors import UnknownThing
from airflow_provider_bloq.testing.local.fleet import AuthType, Cluster, Node, RpcAuth
from airflow_provider_bloq.testing.local.gateway import Gateway
from airflow_provider_bloq.testing.local.listener import NoFreeAddress, Place, bind_place
from airflow_provider_bloq.testing.local.options import Upstream
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.upstreams import (
    Behind,
    LazyUpstream,
    LentUpstream,
    RunningUpstream,
    default_upstreams,
)

__all__ = [
    "Provisioner",
]


class Provisioner:
    """Owns the gateways of all running nodes and clusters. Made and used on the event loop.

    :param backend: The state of the service.
    :param authority: Signs the certificates of clusters.
    :param lent: Chains of Connect, by name, for the nodes that nothing else is chosen for.
    """

    def __init__(
        self, backend: Backend, authority: CertificateAuthority, lent: Mapping[str, LazyUpstream]
    ) -> None:
        self._backend = backend
        self._authority = authority
        # How many calls a node answers at once is for the chain behind it to say.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        self._gateways: dict[str, Gateway] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        chosen = backend.options.upstreams
        self._upstreams: Mapping[str, Callable[[], Upstream]] = (
            default_upstreams() if chosen is None else chosen
        )
        self._lent = lent if chosen is None else {}

    async def create_node(
        self, owner_id: str, offer: Offer, auth_type: AuthType, image: str | None = None
    ) -> Node:
        """Make a node; returns when its chain has started, or at once if provisioning takes time.

        :raises ApiProblem: No address is free (503).
        """
        place = self._place(offer)
        now = self._backend.clock.now()
        node = Node(
            id=Node.new_id(),
            owner_id=owner_id,
            offer=offer,
            auth=RpcAuth.make(auth_type),
            address=place.address,
            created_at=now,
            updated_at=now,
            ready_at=now + self._backend.options.provision_seconds,
            image=image,
        )
        await self._bring_up(node, place, self_signed(place.ip))
        return node

    async def create_cluster(
        self, owner_id: str, offer: Offer, auth_type: AuthType, capacity: int, alias: str | None
    ) -> Cluster:
        """Make a cluster; returns when :meth:`create_node` would.

        :raises ApiProblem: No address is free (503).
        """
        place = self._place(offer)
        now = self._backend.clock.now()
        cluster = Cluster(
            id=Cluster.new_id(),
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
        await self._bring_up(cluster, place, self._authority.sign(place.ip))
        return cluster

    async def stop(self, deployment: Node | Cluster) -> None:
        """Stop a node or cluster; its address is given up."""
        now = self._backend.clock.now()
        deployment.stopped_at = deployment.updated_at = now
        deployment.log.append("stopped")
        await self._take_down(deployment.id)

    async def finish(self, deployment: Node | Cluster) -> None:
        """End the provisioning of a node or cluster now, as soon as its chain runs."""
        deployment.ready_at = min(deployment.ready_at, self._backend.clock.now())
        starting = self._starting.get(deployment.id)
        if starting is not None:
            await asyncio.shield(starting)

    def replace_certificate(self, deployment_id: str) -> str:
        """Give a running node or cluster a new certificate and return its SHA-256 fingerprint.

        :raises UnknownThing: No such node or cluster runs.
        """
        gateway = self._gateways.get(deployment_id)
        if gateway is None:
            raise UnknownThing(f"running node or cluster {deployment_id}")
        is_node = self._backend.fleet.node(deployment_id) is not None
        gateway.show(self_signed(gateway.ip) if is_node else self._authority.sign(gateway.ip))
        return gateway.certificate.fingerprint

    def fingerprint(self, deployment_id: str) -> str:
        """Return the SHA-256 fingerprint of what a running node or cluster shows.

        :raises UnknownThing: No such node or cluster runs.
        """
        if deployment_id not in self._gateways:
            raise UnknownThing(f"running node or cluster {deployment_id}")
        return self._gateways[deployment_id].certificate.fingerprint

    async def close(self) -> None:
        """Take everything down."""
        await asyncio.gather(*(self._take_down(name) for name in list(self._gateways)))
        await self._session.close()

    def _place(self, offer: Offer) -> Place:
        options = self._backend.options
        try:
            return bind_place(
                rpc_port(offer.chain, offer.network),
                (SIDECAR_PORT,) if options.sidecar else (),
                own_ip=options.node_address == "own-ip",
            )
        except NoFreeAddress as error:
            raise ApiProblem(503, "NoCapacity", str(error)) from error

    def _behind(self, offer: Offer) -> Behind:
        lent = self._lent.get(offer.chain)
        if lent is None:
            return RunningUpstream(offer.chain, self._upstreams.get(offer.chain))
        # Connect shows the main network; another one is another chain.
        return LentUpstream(lent) if offer.network == "mainnet" else lent.another()

    async def _bring_up(
        self, deployment: Node | Cluster, place: Place, certificate: KeyedCertificate
    ) -> None:
        upstream = self._behind(deployment.offer)
        gateway = Gateway(self._backend, deployment, place, certificate, upstream, self._session)
        # Entered before the first await: two creates at once must not both pass the quota.
        self._backend.fleet.add(deployment)
        self._gateways[deployment.id] = gateway
        deployment.log.append(f"created {deployment.offer.software} at {deployment.address}")
        self._starting[deployment.id] = asyncio.create_task(self._start(deployment, gateway))
        if deployment.ready_at <= self._backend.clock.now():
            await asyncio.shield(self._starting[deployment.id])

    async def _start(self, deployment: Node | Cluster, gateway: Gateway) -> None:
        await gateway.open()
        await gateway.upstream.start()
        deployment.chain_ready = True
        deployment.log.append("started")

    async def _take_down(self, deployment_id: str) -> None:
        starting = self._starting.pop(deployment_id, None)
        if starting is not None:
            await asyncio.shield(starting)
        gateway = self._gateways.pop(deployment_id, None)
        if gateway is not None:
            await gateway.close()
