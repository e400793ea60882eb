"""Sensor that waits for a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.sensors.base import BloqSensor
from airflow_provider_bloq.sensors.rpc import number_of

if TYPE_CHECKING:
    from airflow_provider_bloq.conditions.condition import Condition

__all__ = ["BloqClusterSensor"]


class BloqClusterSensor(BloqSensor):
    """Wait for one of three things: a state of a cluster, so many healthy members, or the end of its update.

    Returns the cluster as the API describes it, without its user and password. It fails with
    :class:`~airflow_provider_bloq.exceptions.BloqNotFound` if the account has no such cluster, with
    :class:`~airflow_provider_bloq.exceptions.BloqNotStarted` if it was stopped meanwhile, and with
    :class:`~airflow_provider_bloq.exceptions.BloqUpdateNotDone` if the update is over without an effect.

    The arguments of :class:`~airflow_provider_bloq.sensors.base.BloqSensor` and Airflow's own sensors are
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
        from airflow_provider_bloq.clients.models import STARTED
        from airflow_provider_bloq.clients.naming import node_id_of
        from airflow_provider_bloq.conditions.clusters import ClusterHealth, ClusterState, ClusterUpdated

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
