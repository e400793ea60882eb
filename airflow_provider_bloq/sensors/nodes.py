"""Sensors that wait for nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.sensors._base import BloqRpcSensor, BloqSensor
from airflow_provider_bloq.validation import number_of, seconds_of

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow_provider_bloq.polling.conditions import Condition

__all__ = [
    "BloqClusterSensor",
    "BloqNodeSensor",
    "BloqNodeSyncedSensor",
]


class BloqNodeSensor(BloqSensor):
    """Wait until a node is in a certain state.

    Returns the node as the API describes it, without its user and password. It fails with
    :class:`~airflow_provider_bloq.exceptions.BloqNotFound` if the account has no such node, and with
    :class:`~airflow_provider_bloq.exceptions.BloqNotStarted` if the node was stopped meanwhile.

    The arguments of :class:`~airflow_provider_bloq.sensors._base.BloqSensor` and Airflow's own sensors are
    taken as well.

    :param node: Its id, or what ``BloqCreateNodeOperator`` returned.
    :param state: The state; ``started`` and ``stopped`` are in evidence.
    """

    template_fields: Sequence[str] = (*BloqSensor.template_fields, "node", "state")

    def __init__(self, *, node: str | Mapping[str, Any], state: str = "started", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.state = state

    def condition(self) -> Condition:
        """See :meth:`BloqSensor.condition`."""
        from airflow_provider_bloq.nodes.conditions import NodeState
        from airflow_provider_bloq.validation import node_id_of

        return NodeState(node_id_of(self.node), self.state)


class BloqNodeSyncedSensor(BloqRpcSensor):
    """Wait until a node has taken in its chain, up to so many blocks or seconds. If both are given, both must hold.

    Returns a dict: ``head`` with its ``height``, ``hash`` and ``time`` (seconds since the epoch),
    ``age_seconds``, and ``behind``: how many blocks the node knows that it lacks.

    The arguments of :class:`~airflow_provider_bloq.sensors._base.BloqRpcSensor`,
    :class:`~airflow_provider_bloq.sensors._base.BloqSensor` and Airflow's own sensors are taken as well.

    :param within_blocks: Blocks that it may lack, by its own word.
    :param within_seconds: How old its last block may be, in seconds or as a ``timedelta``; leave room for the
        time that the chain takes for a block.
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
        """See :meth:`BloqSensor.condition`."""
        from airflow_provider_bloq.chains.conditions import NodeSynced

        seconds = self.within_seconds
        return NodeSynced(
            self.subject,
            number_of(self.within_blocks),
            None if seconds is None else seconds_of("within_seconds", seconds, self.task_id),
        )


class BloqClusterSensor(BloqSensor):
    """Wait for one of three things: a state of a cluster, so many healthy members, or the end of its update.

    Returns the cluster as the API describes it, without its user and password. It fails with
    :class:`~airflow_provider_bloq.exceptions.BloqNotFound` if the account has no such cluster, with
    :class:`~airflow_provider_bloq.exceptions.BloqNotStarted` if it was stopped meanwhile, and with
    :class:`~airflow_provider_bloq.exceptions.BloqUpdateNotDone` if the update is over without an effect.

    The arguments of :class:`~airflow_provider_bloq.sensors._base.BloqSensor` and Airflow's own sensors are
    taken as well.

    :param cluster: Its id, or what ``BloqCreateClusterOperator`` returned.
    :param state: The state; ``started``, which is the default, and ``stopped`` are in evidence.
    :param at_least: How many of its members must be healthy.
    :param updated: Whether to wait for the end of an update. Say also what the update is to bring, else it is
        enough that none is to be seen, as is the case before it has begun.
    :param service_id: The service that the update is to bring; implies ``updated``.
    :param capacity: The number of members that the update is to bring; implies ``updated``.
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
        """See :meth:`BloqSensor.condition`."""
        from airflow_provider_bloq.nodes.conditions import ClusterHealth, ClusterState, ClusterUpdated
        from airflow_provider_bloq.nodes.models import STARTED
        from airflow_provider_bloq.validation import node_id_of

        cluster_id = node_id_of(self.cluster, "cluster")
        updated = self.updated or self.service_id is not None or self.capacity is not None
        if [self.state is not None, self.at_least is not None, updated].count(True) > 1:
            raise BloqConfigurationError.of(
                "state",
                "more than one of state, at_least and an update is given",
                "Give one of them, or a sensor to each.",
                self.task_id,
            )
        if updated:
            return ClusterUpdated(cluster_id, self.service_id, number_of(self.capacity))
        if self.at_least is not None:
            return ClusterHealth(cluster_id, number_of(self.at_least))
        return ClusterState(cluster_id, self.state or STARTED)
