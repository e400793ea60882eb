"""Conditions on nodes and clusters: state, health, completed update."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from airflow_provider_bloq.arguments import require_whole_number
from airflow_provider_bloq.exceptions import BloqNotFound, BloqNotStarted, BloqUpdateNotDone
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.nodes.client import MAX_CAPACITY, MIN_CAPACITY, ClustersApi, NodesApi
from airflow_provider_bloq.nodes.models import STARTED, STOPPED, Cluster, Node
from airflow_provider_bloq.polling.conditions import (
    Condition,
    Failed,
    Memory,
    Met,
    PollFunction,
    Reader,
    Target,
    Verdict,
    Waiting,
)

__all__ = [
    "ClusterHealth",
    "ClusterList",
    "ClusterState",
    "ClusterUpdated",
    "NodeList",
    "NodeState",
]


@dataclass(frozen=True, slots=True)
class NodeList(Target):
    """All nodes of the account: one list serves all waits."""

    def poll_with(self, reader: Reader) -> PollFunction:
        def observe(_: frozenset[Hashable]) -> Flow[dict[str, Node]]:
            return {node.id: node for node in (yield from NodesApi.list.flow(reader.nodes))}

        return observe


@dataclass(frozen=True, slots=True)
class NodeState(Condition):
    """A node is in a certain state.

    :param node_id: Its id.
    :param state: The state; ``started`` and ``stopped`` are known.
    """

    kind: ClassVar[str] = "node_state"

    node_id: str
    state: str = STARTED

    @property
    def target(self) -> Target:
        return NodeList()

    def judge(self, seen: dict[str, Node], memory: Memory | None) -> Verdict:
        node = seen.get(self.node_id)
        if node is None:
            return Failed(BloqNotFound(f"{self.node_id} is not in the list of this account's nodes."))
        if node.state == self.state:
            return Met(node.public())
        if node.state == STOPPED:
            return Failed(
                BloqNotStarted(f"{node.id} was stopped and will never be {self.state!r}.", node_id=node.id)
            )
        return Waiting(f"{node.id} is {node.state!r}")


@dataclass(frozen=True, slots=True)
class ClusterList(Target):
    """All clusters of the account: one list serves all waits."""

    def poll_with(self, reader: Reader) -> PollFunction:
        def observe(_: frozenset[Hashable]) -> Flow[dict[str, Cluster]]:
            clusters = yield from ClustersApi.list.flow(reader.clusters)
            return {cluster.id: cluster for cluster in clusters}

        return observe


@dataclass(frozen=True, slots=True)
class ClusterState(Condition):
    """A cluster is in a certain state.

    :param cluster_id: Its id.
    :param state: The state; ``started`` and ``stopped`` are known.
    """

    kind: ClassVar[str] = "cluster_state"

    cluster_id: str
    state: str = STARTED

    @property
    def target(self) -> Target:
        return ClusterList()

    def judge(self, seen: dict[str, Cluster], memory: Memory | None) -> Verdict:
        cluster = seen.get(self.cluster_id)
        if cluster is not None and cluster.state == self.state:
            return Met(cluster.public())
        there = _still_there(self.cluster_id, seen)
        return there if isinstance(there, Failed) else Waiting(f"{there.id} is {there.state!r}")


@dataclass(frozen=True, slots=True)
class ClusterHealth(Condition):
    """A cluster is started and enough of its members are healthy.

    :param cluster_id: Its id.
    :param at_least: How many. More than its capacity are healthy only after an update that adds members.
    :raises BloqConfigurationError: The number is invalid.
    """

    kind: ClassVar[str] = "cluster_health"

    cluster_id: str
    at_least: int

    def __post_init__(self) -> None:
        require_whole_number("at_least", self.at_least, least=1)

    @property
    def target(self) -> Target:
        return ClusterList()

    def judge(self, seen: dict[str, Cluster], memory: Memory | None) -> Verdict:
        cluster = _still_there(self.cluster_id, seen)
        if isinstance(cluster, Failed):
            return cluster
        if cluster.state != STARTED:
            return Waiting(f"{cluster.id} is {cluster.state!r}")
        healthy = cluster.shown.get("healthCount")
        if isinstance(healthy, int) and healthy >= self.at_least:
            return Met(cluster.public())
        count = f"{healthy} are healthy" if isinstance(healthy, int) else "healthy count unknown"
        return Waiting(f"{cluster.id} needs {self.at_least} healthy members: {count}")


@dataclass(frozen=True, slots=True)
class ClusterUpdated(Condition):
    """A cluster's update is over, and the cluster is what it was to become.

    The API shows an update by ``updatingService`` while it runs. If that goes away and the service is still
    another, the update was aborted or has failed. Name the service or the capacity that was asked for: without
    them it is enough that no update is visible, even if it has not begun yet.

    :param cluster_id: Its id.
    :param service_id: The service that it moves to; by default that of the update that is seen.
    :param capacity: Number of members that it is to have. A mere change of members is not shown while it runs,
        so that it is waited for until it is there.
    :raises BloqConfigurationError: The capacity is invalid.
    """

    kind: ClassVar[str] = "cluster_updated"

    cluster_id: str
    service_id: str | None = None
    capacity: int | None = None

    def __post_init__(self) -> None:
        if self.capacity is not None:
            require_whole_number("capacity", self.capacity, least=MIN_CAPACITY, most=MAX_CAPACITY)

    @property
    def target(self) -> Target:
        return ClusterList()

    def judge(self, seen: dict[str, Cluster], memory: Memory | None) -> Verdict:
        cluster = _still_there(self.cluster_id, seen)
        if isinstance(cluster, Failed):
            return cluster
        moving_to = cluster.shown.get("updatingService")
        if moving_to is not None:
            return Waiting(f"{cluster.id} is moving to {moving_to}", {"moving_to": moving_to})
        memory = memory or {}
        moved_to = memory.get("moving_to")
        service_id = self.service_id or moved_to or cluster.service
        missing = list(self._missing(cluster, service_id))
        if not missing:
            return Met(cluster.public())
        lacks = f"{cluster.id} has {' and '.join(missing)}"
        # One look may come before the update is visible.
        if moved_to is not None or (memory.get("unseen") and cluster.service != service_id):
            return Failed(
                BloqUpdateNotDone(
                    f"The update is over, but {lacks}: it was aborted or failed.", cluster_id=cluster.id
                )
            )
        return Waiting(f"{lacks}, and no update is visible", {"unseen": True})

    def _missing(self, cluster: Cluster, service_id: str | None) -> Iterator[str]:
        if cluster.service != service_id:
            yield f"the service {cluster.service}, not {service_id}"
        capacity = cluster.shown.get("capacity")
        if self.capacity is not None and capacity != self.capacity:
            yield f"{capacity} members, not {self.capacity}"


def _still_there(cluster_id: str, seen: dict[str, Cluster]) -> Cluster | Failed:
    cluster = seen.get(cluster_id)
    if cluster is None:
        return Failed(BloqNotFound(f"{cluster_id} is not in the list of this account's clusters."))
    if cluster.state == STOPPED:
        return Failed(BloqNotStarted(f"{cluster_id} was stopped for good.", node_id=cluster_id))
    return cluster
