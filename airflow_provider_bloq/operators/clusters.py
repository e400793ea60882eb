"""Operators for Bloq clusters: create, update, abort an update, delete, list and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.exceptions import BloqError, BloqWaitTimeout
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.operators._base import BloqOperator, WaitingOperator
from airflow_provider_bloq.operators._create import BloqCreateOperator

if TYPE_CHECKING:
    from airflow_provider_bloq.flow.effects import Flow
    from airflow_provider_bloq.nodes.client import ClusterUpdate, DeploymentsApi
    from airflow_provider_bloq.nodes.conditions import ClusterUpdated
    from airflow_provider_bloq.polling.conditions import Condition
    from airflow_provider_bloq.triggers.wait import CancellingTrigger

__all__ = [
    "BloqAbortClusterUpdateOperator",
    "BloqCreateClusterOperator",
    "BloqDeleteClusterOperator",
    "BloqGetClusterOperator",
    "BloqListClustersOperator",
    "BloqUpdateClusterOperator",
]


class BloqUpdateClusterOperator(WaitingOperator):
    """Change the capacity, service or alias of a cluster, and wait until the change is done.

    Reads the cluster first and requests only what still differs, so a retry continues where the last try ended. If an
    update disappears without effect (it was aborted or has failed), the task fails with ``BloqUpdateNotDone``.

    Returns the cluster as the API describes it, without its user and password.

    :param cluster: Its id, or the result of ``BloqCreateClusterOperator``.
    :param capacity: Number of members, 2 to 10; None to keep it.
    :param service_id: The service to move to, of the same chain and network; None to keep it.
    :param alias: Its second name; None to keep it.
    :param wait_for_completion: Whether to wait until it is done.
    :param poll_interval: Time between two polls: seconds or a timedelta, at least 0.1 s.
    :param timeout: How long to wait in each try: seconds or a timedelta. ``execution_timeout`` shortens it.
    :param deferrable: Whether to wait in the triggerer.
    :param cancel_on_kill: Whether to abort the change of service that this try has begun if the task is killed
        while it waits; see :class:`~airflow_provider_bloq.operators._create.BloqCreateOperator`. Capacity and
        alias are not changed back.
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (
        *BloqOperator.template_fields,
        "cluster",
        "capacity",
        "service_id",
        "alias",
    )

    def __init__(
        self,
        *,
        cluster: str | Mapping[str, Any],
        capacity: int | str | None = None,
        service_id: str | None = None,
        alias: str | None = None,
        wait_for_completion: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cluster = cluster
        self.capacity = capacity
        self.service_id = service_id
        self.alias = alias
        self.wait_for_completion = wait_for_completion
        #: The cluster, and the service that this try is moving it to.
        self._begun: tuple[str, str] | None = None

    def trigger_class(self) -> type[CancellingTrigger]:
        from airflow_provider_bloq.triggers.wait import BloqClusterUpdateTrigger

        return BloqClusterUpdateTrigger

    def execute(self, context: Any) -> dict[str, Any]:
        """Request what still differs, and wait until it is done."""
        from airflow_provider_bloq.nodes.client import update

        cluster_id, wanted = self._wanted()
        change = self.hook.run(update(self.hook.clusters, cluster_id, wanted))
        self.log.info("%s: requested %s", cluster_id, change)
        if change.service_id is not None:
            self._begun = (cluster_id, change.service_id)
        return self._finish(cluster_id, wanted, self.clock() + self.max_wait, begun=self._begun is not None)

    def execute_complete(self, context: Any, event: Any, deadline: float, begun: bool) -> dict[str, Any]:
        """Continue after the trigger.

        :param event: The trigger's event.
        :param deadline: When the wait ends, in epoch seconds.
        :param begun: Whether this try has begun a change of service.
        """
        from airflow_provider_bloq.polling.serialization import result_of

        cluster_id, wanted = self._wanted()
        if begun and wanted.service_id is not None:
            self._begun = (cluster_id, wanted.service_id)
        try:
            result: dict[str, Any] = result_of(event)
        except BloqWaitTimeout:
            self.out_of_execution_time()
            raise
        except BloqError as failure:
            # Waiters that share a poll may get a list that is slightly older than the change.
            if not self._is_under_way(cluster_id, wanted):
                raise failure
            return self._finish(cluster_id, wanted, deadline, begun=begun)
        self._begun = None
        return result

    def cancellation(self, service: dict[str, Any]) -> Flow[Any] | None:
        from airflow_provider_bloq.nodes.client import ClustersApi, abort_update

        if self._begun is None:
            return None
        cluster_id, service_id = self._begun
        self.log.info("Aborting the update of %s because the task was killed.", cluster_id)
        return abort_update(ClustersApi(**service), cluster_id, only_to=service_id)

    def _wanted(self) -> tuple[str, ClusterUpdate]:
        from airflow_provider_bloq.arguments import node_id_of, untemplated
        from airflow_provider_bloq.nodes.client import ClusterUpdate

        with raise_as_fail_exception():
            wanted = ClusterUpdate(untemplated(self.capacity), self.service_id, self.alias)
            return node_id_of(self.cluster, "cluster"), wanted

    def _condition(self, cluster_id: str, wanted: ClusterUpdate) -> ClusterUpdated:
        from airflow_provider_bloq.nodes.conditions import ClusterUpdated

        return ClusterUpdated(cluster_id, wanted.service_id, wanted.capacity)

    def _is_under_way(self, cluster_id: str, wanted: ClusterUpdate) -> bool:
        from airflow_provider_bloq.nodes.client import remaining_changes

        change = remaining_changes(self.hook.clusters.get(cluster_id), wanted)
        return change.capacity is None

    def _finish(
        self, cluster_id: str, wanted: ClusterUpdate, deadline: float, *, begun: bool
    ) -> dict[str, Any]:
        if self.wait_for_completion and (wanted.service_id, wanted.capacity) != (None, None):
            condition = self._condition(cluster_id, wanted)
            self.await_condition(condition, deadline, cancel=begun, begun=begun)
        self._begun = None
        return self.hook.clusters.get(cluster_id).public()


class BloqCreateClusterOperator(BloqCreateOperator):
    """Create a cluster and wait until it has started.

    Returns the cluster as the API describes it, without its user and password. Pass the result as the ``node`` of
    ``BloqJsonRpcOperator`` or as the ``cluster`` of other operators.

    Retries leave exactly one cluster; see :class:`~airflow_provider_bloq.operators._create.BloqCreateOperator`, also
    for the other parameters.

    :param service_id: Id of the service to create, from ``BloqHook.clusters.services()``.
    :param auth_type: How callers authenticate: ``jwt`` (the access token), ``basic`` (the cluster's user and
        password) or ``none``.
    :param capacity: Number of members, 2 to 10.
    :param alias: A second name for it.
    """

    template_fields: Sequence[str] = (*BloqCreateOperator.template_fields, "capacity", "alias")

    def __init__(self, *, capacity: int | str = 2, alias: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.capacity = capacity
        self.alias = alias

    def api(self, service: dict[str, Any] | None = None) -> DeploymentsApi[Any]:
        from airflow_provider_bloq.nodes.client import ClustersApi

        return self.hook.clusters if service is None else ClustersApi(**service)

    def order(self) -> dict[str, Any]:
        from airflow_provider_bloq.arguments import untemplated
        from airflow_provider_bloq.nodes.client import ClustersApi

        capacity = untemplated(self.capacity)
        return ClustersApi.order(self.service_id, self.auth_type, capacity=capacity, alias=self.alias)

    def started(self, id: str) -> Condition:  # noqa: A002 - the field's own name
        from airflow_provider_bloq.nodes.conditions import ClusterState

        return ClusterState(id)

    def trigger_class(self) -> type[CancellingTrigger]:
        from airflow_provider_bloq.triggers.wait import BloqClusterStartTrigger

        return BloqClusterStartTrigger


class _ClusterOperator(BloqOperator):
    """An operator for one cluster.

    :param cluster: Its id, or the result of ``BloqCreateClusterOperator``.
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (*BloqOperator.template_fields, "cluster")

    def __init__(self, *, cluster: str | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cluster = cluster

    @property
    def cluster_id(self) -> str:
        from airflow_provider_bloq.arguments import node_id_of

        with raise_as_fail_exception():
            return node_id_of(self.cluster, "cluster")


class BloqAbortClusterUpdateOperator(_ClusterOperator):
    """Abort a cluster's change of service. Succeeds if none is under way.

    :param cluster: Its id, or the result of ``BloqCreateClusterOperator``.
    :param bloq_conn_id: Id of the connection.
    """

    def execute(self, context: Any) -> dict[str, Any]:
        """Abort the change, and return the cluster without its credentials."""
        from airflow_provider_bloq.nodes.client import abort_update

        cluster = self.hook.run(abort_update(self.hook.clusters, self.cluster_id))
        self.log.info("%s has the service %s", cluster.id, cluster.service)
        return cluster.public()


class BloqDeleteClusterOperator(_ClusterOperator):
    """Delete a cluster. Succeeds if it is already deleted.

    :param cluster: Its id, or the result of ``BloqCreateClusterOperator``.
    :param bloq_conn_id: Id of the connection.
    """

    def execute(self, context: Any) -> None:
        """Delete the cluster."""
        cluster_id = self.cluster_id
        self.hook.clusters.delete(cluster_id)
        self.log.info("Deleted %s", cluster_id)


class BloqGetClusterOperator(_ClusterOperator):
    """Read a cluster. Returns it as the API describes it, without its user and password.

    :param cluster: Its id, or the result of ``BloqCreateClusterOperator``.
    :param bloq_conn_id: Id of the connection.
    """

    def execute(self, context: Any) -> dict[str, Any]:
        """Return the cluster without its credentials."""
        return self.hook.clusters.get(self.cluster_id).public()


class BloqListClustersOperator(BloqOperator):
    """List the account's clusters, as the API describes them, without users and passwords.

    :param include_stopped: Whether to include deleted clusters, which stay on Bloq's list.
    :param bloq_conn_id: Id of the connection.
    """

    def __init__(self, *, include_stopped: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.include_stopped = include_stopped

    def execute(self, context: Any) -> list[dict[str, Any]]:
        """Return the clusters without their credentials."""
        from airflow_provider_bloq.nodes.models import STOPPED

        clusters = self.hook.clusters.list()
        return [cluster.public() for cluster in clusters if self.include_stopped or cluster.state != STOPPED]
