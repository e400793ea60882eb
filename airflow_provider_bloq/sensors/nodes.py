"""Sensors that wait for nodes and clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.arguments import number_of, seconds_of
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.sensors._base import BloqRpcSensor, BloqSensor

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow_provider_bloq.polling.conditions import Condition

__all__ = [
    "BloqClusterSensor",
    "BloqNodeSensor",
    "BloqNodeSyncedSensor",
]


class BloqNodeSensor(BloqSensor):
    """Wait until a node is in a state.

    Returns the node as the API describes it, without its user and password. Fails with
    :class:`~airflow_provider_bloq.exceptions.BloqNotFound` if the account has no such node, and with
    :class:`~airflow_provider_bloq.exceptions.BloqNotStarted` if the node was stopped.

    Also takes the arguments of :class:`~airflow_provider_bloq.sensors._base.BloqSensor`.

    :param node: Its id, or the result of ``BloqCreateNodeOperator``.
    :param state: The state, such as ``started`` or ``stopped``.
    """

    template_fields: Sequence[str] = (*BloqSensor.template_fields, "node", "state")

    def __init__(self, *, node: str | Mapping[str, Any], state: str = "started", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.state = state

    def condition(self) -> Condition:
        from airflow_provider_bloq.arguments import node_id_of
        from airflow_provider_bloq.nodes.conditions import NodeState

        return NodeState(node_id_of(self.node), self.state)


class BloqNodeSyncedSensor(BloqRpcSensor):
    """Wait until a node is in sync, to within some blocks or seconds. If both are given, both must hold.

    Returns a dict: ``head`` with its ``height``, ``hash`` and ``time`` (seconds since the epoch),
    ``age_seconds``, and ``behind``: the number of known blocks that the node does not have yet.

    Also takes the arguments of :class:`~airflow_provider_bloq.sensors._base.BloqRpcSensor`.

    :param within_blocks: How many blocks behind the node may be, as it reports itself.
    :param within_seconds: Greatest age of its last block, in seconds or as a ``timedelta``. Allow for the chain's
        block time.
    """

    template_fields: Sequence[str] = (*BloqRpcSensor.template_fields, "within_blocks", "within_seconds")

    def __init__(
        self,
        *,
        within_blocks: int | str | None = None,
        within_seconds: float | str | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.within_blocks = within_blocks
        self.within_seconds = within_seconds

    def condition(self) -> Condition:
        from airflow_provider_bloq.chains.conditions import NodeSynced

        seconds = self.within_seconds
        return NodeSynced(
            self.subject,
            number_of(self.within_blocks),
            None if seconds is None else seconds_of("within_seconds", seconds, self.task_id),
        )


class BloqClusterSensor(BloqSensor):
    """Wait for a state of a cluster, a number of healthy members, or the end of an update.

    Returns the cluster as the API describes it, without its user and password. Fails with
    :class:`~airflow_provider_bloq.exceptions.BloqNotFound` if the account has no such cluster, with
    :class:`~airflow_provider_bloq.exceptions.BloqNotStarted` if it was stopped, and with
    :class:`~airflow_provider_bloq.exceptions.BloqUpdateNotDone` if the update ended without taking effect.

    Also takes the arguments of :class:`~airflow_provider_bloq.sensors._base.BloqSensor`.

    :param cluster: Its id, or the result of ``BloqCreateClusterOperator``.
    :param state: The state, such as ``started``, the default, or ``stopped``.
    :param at_least: Number of members that must be healthy.
    :param updated: Whether to wait for the end of an update. Without ``service_id`` or ``capacity`` the wait is
        also over if the update has not begun yet.
    :param service_id: The service after the update; implies ``updated``.
    :param capacity: The number of members after the update; implies ``updated``.
    """

    template_fields: Sequence[str] = (
        *BloqSensor.template_fields,
        "cluster",
        "state",
        "at_least",
        "service_id",
        "capacity",
    )

    def __init__(
        self,
        *,
        cluster: str | Mapping[str, Any],
        state: str | None = None,
        at_least: int | str | None = None,
        updated: bool = False,
        service_id: str | None = None,
        capacity: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cluster = cluster
        self.state = state
        self.at_least = at_least
        self.updated = updated
        self.service_id = service_id
        self.capacity = capacity

    def condition(self) -> Condition:
        from airflow_provider_bloq.arguments import node_id_of
        from airflow_provider_bloq.nodes.conditions import ClusterHealth, ClusterState, ClusterUpdated
        from airflow_provider_bloq.nodes.models import STARTED

        cluster_id = node_id_of(self.cluster, "cluster")
        updated = self.updated or self.service_id is not None or self.capacity is not None
        if [self.state is not None, self.at_least is not None, updated].count(True) > 1:
            raise BloqConfigurationError.of(
                "state",
                "more than one of state, at_least and an update is given",
                "Give one of them, or use one sensor for each.",
                self.task_id,
            )
        if updated:
            return ClusterUpdated(cluster_id, self.service_id, number_of(self.capacity))
        if self.at_least is not None:
            return ClusterHealth(cluster_id, number_of(self.at_least))
        return ClusterState(cluster_id, self.state or STARTED)
