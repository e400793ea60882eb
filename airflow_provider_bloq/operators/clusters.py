"""Operators for clusters of Bloq Nodes: create, delete, list and read them, and abort an update of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.hooks.failures import failing_at_once
from airflow_provider_bloq.operators.base import BloqOperator
from airflow_provider_bloq.operators.cluster_update import BloqUpdateClusterOperator
from airflow_provider_bloq.operators.creation import BloqCreateOperator

if TYPE_CHECKING:
    from airflow_provider_bloq.clients.machines import MachinesApi
    from airflow_provider_bloq.conditions.condition import Condition
    from airflow_provider_bloq.triggers.cancelling import CancellingTrigger

__all__ = [
    "BloqAbortClusterUpdateOperator",
    "BloqCreateClusterOperator",
    "BloqDeleteClusterOperator",
    "BloqGetClusterOperator",
    "BloqListClustersOperator",
    "BloqUpdateClusterOperator",
]


class BloqCreateClusterOperator(BloqCreateOperator):
    """Create a cluster and wait until it has started.

    Returns the cluster as the API describes it, without its user and password. Hand the result on as the
    ``node`` of ``BloqJsonRpcOperator`` or as the ``cluster`` of other operators.

    Retries leave exactly one cluster: see :class:`~airflow_provider_bloq.operators.creation.BloqCreateOperator`,
    which has all other parameters.

    :param service_id: What to create: an id out of ``BloqHook.clusters.services()``.
    :param auth_type: How the cluster will know its callers: ``jwt`` (the access token), ``basic`` (a user
        and password of its own) or ``none``.
    :param capacity: Number of members, 2 to 10.
    :param alias: A second name for it.
    """

    template_fields: Sequence[str] = (*BloqCreateOperator.template_fields, "capacity", "alias")

    def __init__(self, *, capacity: int | str = 2, alias: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.capacity = capacity
        self.alias = alias

    def api(self, service: dict[str, Any] | None = None) -> MachinesApi[Any]:
        """See :meth:`.BloqCreateOperator.api`."""
        from airflow_provider_bloq.clients.clusters import ClustersApi

        return self.hook.clusters if service is None else ClustersApi(**service)

    def order(self) -> dict[str, Any]:
        """See :meth:`.BloqCreateOperator.order`."""
        from airflow_provider_bloq.clients.clusters import ClustersApi
        from airflow_provider_bloq.clients.limits import untemplated

        capacity = untemplated(self.capacity)
        return ClustersApi.order(self.service_id, self.auth_type, capacity=capacity, alias=self.alias)

    def started(self, id: str) -> Condition:  # noqa: A002 - the field's own name
        """See :meth:`.BloqCreateOperator.started`."""
        from airflow_provider_bloq.conditions.clusters import ClusterState

        return ClusterState(id)

    def trigger_class(self) -> type[CancellingTrigger]:
        """See :meth:`.WaitingOperator.trigger_class`."""
        from airflow_provider_bloq.triggers.creation import BloqClusterStartTrigger

        return BloqClusterStartTrigger


class _ClusterOperator(BloqOperator):
    """An operator for one cluster.

    :param cluster: Its id, or what ``BloqCreateClusterOperator`` returned.
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (*BloqOperator.template_fields, "cluster")

    def __init__(self, *, cluster: str | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cluster = cluster

    @property
    def cluster_id(self) -> str:
        """The cluster's id.

        :raises BloqConfigurationError: There is none.
        """
        from airflow_provider_bloq.clients.naming import node_id_of

        with failing_at_once():
            return node_id_of(self.cluster, "cluster")


class BloqAbortClusterUpdateOperator(_ClusterOperator):
    """Stop a cluster's change of service. That none is under way (any more) is no error.

    :param cluster: Its id, or what ``BloqCreateClusterOperator`` returned.
    :param bloq_conn_id: Id of the connection.
    """

    def execute(self, context: Any) -> dict[str, Any]:
        """Stop the change.

        :return: The cluster afterwards, without its credentials.
        """
        from airflow_provider_bloq.clients.cluster_update import abort_update

        cluster = self.hook.run(abort_update(self.hook.clusters, self.cluster_id))
        self.log.info("%s has the service %s", cluster.id, cluster.service)
        return cluster.public()


class BloqDeleteClusterOperator(_ClusterOperator):
    """Delete a cluster for good. That it is deleted already is no error.

    :param cluster: Its id, or what ``BloqCreateClusterOperator`` returned.
    :param bloq_conn_id: Id of the connection.
    """

    def execute(self, context: Any) -> None:
        """Delete the cluster."""
        cluster_id = self.cluster_id
        self.hook.clusters.delete(cluster_id)
        self.log.info("Deleted %s", cluster_id)


class BloqGetClusterOperator(_ClusterOperator):
    """Read a cluster, as the API describes it, without its user and password.

    :param cluster: Its id, or what ``BloqCreateClusterOperator`` returned.
    :param bloq_conn_id: Id of the connection.
    """

    def execute(self, context: Any) -> dict[str, Any]:
        """Read the cluster.

        :return: The cluster without its credentials.
        """
        return self.hook.clusters.get(self.cluster_id).public()


class BloqListClustersOperator(BloqOperator):
    """List the account's clusters, each as the API describes it, without its user and password.

    :param include_stopped: Whether deleted clusters, which stay in Bloq's list, are listed as well.
    :param bloq_conn_id: Id of the connection.
    """

    def __init__(self, *, include_stopped: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.include_stopped = include_stopped

    def execute(self, context: Any) -> list[dict[str, Any]]:
        """List the clusters.

        :return: The clusters without their credentials.
        """
        from airflow_provider_bloq.clients.models import STOPPED

        clusters = self.hook.clusters.list()
        return [cluster.public() for cluster in clusters if self.include_stopped or cluster.state != STOPPED]
