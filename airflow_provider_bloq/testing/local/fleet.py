"""Nodes and clusters, their states, and the list of all of them."""

from __future__ import annotations

import secrets
import uuid
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from airflow_provider_bloq.testing.local.catalogue import ServiceOffer
from airflow_provider_bloq.testing.local.tokens import same_secret

__all__ = [
    "AuthType",
    "Fleet",
    "LocalCluster",
    "LocalDeployment",
    "LocalNode",
    "RpcAuth",
    "ServiceUpdate",
    "running",
]


AuthType = Literal["basic", "jwt", "none"]

_LOG_LINES_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class RpcAuth:
    """How a node authenticates its callers; user and password only for ``basic``."""

    type: AuthType
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def make(cls, kind: AuthType) -> RpcAuth:
        """Return the authentication of a new node; ``basic`` has a random user and password."""
        if kind == "basic":
            return cls("basic", secrets.token_hex(5), secrets.token_hex(10))
        return cls(kind)

    def accepts_login(self, user: str, password: str) -> bool:
        """Return whether these are the user and the password."""
        return same_secret(f"{self.user}:{self.password}", f"{user}:{password}")


@dataclass(slots=True, kw_only=True)
class LocalDeployment:
    """What nodes and clusters have in common. Times are seconds since the epoch.

    :param ready_at: The end of provisioning.
    :param chain_ready: Whether its chain has started, or it has none.
    """

    id: str
    owner_id: str
    offer: ServiceOffer
    auth: RpcAuth
    address: str
    created_at: float
    updated_at: float
    ready_at: float
    chain_ready: bool = False
    stopped_at: float | None = None
    log: deque[str] = field(default_factory=lambda: deque(maxlen=_LOG_LINES_KEPT), repr=False)

    def is_provisioning(self, now: float) -> bool:
        """Return whether it is being provisioned at a moment."""
        return self.stopped_at is None and not (self.chain_ready and now >= self.ready_at)

    def state(self, now: float, provisioning_state: str) -> str:
        """Return its state at a moment."""
        if self.stopped_at is not None:
            return "stopped"
        return provisioning_state if self.is_provisioning(now) else "started"


@dataclass(slots=True, kw_only=True)
class LocalNode(LocalDeployment):
    """A single node."""

    image: str | None = None

    @staticmethod
    def new_id() -> str:
        """Return the id of a new node."""
        return f"node-{uuid.uuid4()}"


@dataclass(frozen=True, slots=True)
class ServiceUpdate:
    """A cluster's update to another service; it ends at ``done_at``, or on request if that is None."""

    offer: ServiceOffer
    done_at: float | None


@dataclass(slots=True, kw_only=True)
class LocalCluster(LocalDeployment):
    """Several nodes behind one domain."""

    name: str
    alias: str | None
    capacity: int
    update: ServiceUpdate | None = None

    @staticmethod
    def new_id() -> str:
        """Return the id of a new cluster."""
        return f"cluster-{uuid.uuid4()}"

    def settle(self, now: float) -> None:
        """Complete the service update if it is due."""
        if self.update and self.update.done_at is not None and now >= self.update.done_at:
            self.complete_update(now)

    def complete_update(self, now: float) -> None:
        """Complete the service update now."""
        if self.update is not None:
            self.offer, self.update, self.updated_at = self.update.offer, None, now

    def healthy(self, state: str) -> int:
        """Return the number of healthy members; an update takes out one at a time."""
        if state != "started":
            return 0
        return self.capacity - 1 if self.update else self.capacity


class Fleet:
    """All nodes and clusters, including stopped ones. Used on the event loop only."""

    def __init__(self) -> None:
        self._nodes: dict[str, LocalNode] = {}
        self._clusters: dict[str, LocalCluster] = {}

    def add(self, deployment: LocalNode | LocalCluster) -> None:
        """Add a node or cluster."""
        if isinstance(deployment, LocalNode):
            self._nodes[deployment.id] = deployment
        else:
            self._clusters[deployment.id] = deployment

    def node(self, node_id: str, owner_id: str | None = None) -> LocalNode | None:
        """Return the node of that id if it is the owner's; any owner's if none is given."""
        node = self._nodes.get(node_id)
        return node if node and owner_id in (None, node.owner_id) else None

    def cluster(self, cluster_id: str, owner_id: str | None = None) -> LocalCluster | None:
        """Return the cluster of that id if it is the owner's; any owner's if none is given."""
        cluster = self._clusters.get(cluster_id)
        return cluster if cluster and owner_id in (None, cluster.owner_id) else None

    def nodes(self, owner_id: str | None = None) -> list[LocalNode]:
        """Return one owner's nodes, or all, oldest first."""
        return [node for node in self._nodes.values() if owner_id in (None, node.owner_id)]

    def clusters(self, owner_id: str | None = None) -> list[LocalCluster]:
        """Return one owner's clusters, or all, oldest first."""
        return [cluster for cluster in self._clusters.values() if owner_id in (None, cluster.owner_id)]

    def everything(self) -> list[LocalNode | LocalCluster]:
        """Return all nodes and clusters."""
        return [*self._nodes.values(), *self._clusters.values()]


def running(deployments: Iterable[LocalDeployment]) -> int:
    """Count those that are not stopped."""
    return sum(deployment.stopped_at is None for deployment in deployments)
