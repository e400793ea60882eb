"""Operator that changes a cluster and waits until it is what it was to become."""

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
    """Change the capacity, the service or the alias of a cluster, and wait until that is done.

    The cluster is read first: what is as wanted, or on its way there, is not asked for again. So a retry, after
    whatever, goes on where the try before it ended. An update that goes away without having led to what was
    wanted (it was aborted, or has failed) is ``BloqUpdateNotDone``.

    Returns the cluster as the API describes it, without its user and password.

    :param cluster: Its id, or what ``BloqCreateClusterOperator`` returned.
    :param capacity: Number of members, 2 to 10; None to leave it.
    :param service_id: The service to move to, of the same chain and network; None to leave it.
    :param alias: Its second name; None to leave it.
    :param wait_for_completion: Whether to wait until it is done.
    :param poll_interval: Time between two looks at the cluster: seconds, or a timedelta; at least 0.1 s.
    :param timeout: Time to wait, from each try's beginning: seconds, or a timedelta.
        ``execution_timeout`` shortens it.
    :param deferrable: Whether to wait in the triggerer.
    :param cancel_on_kill: Whether to abort the change of service that this try has begun if the task is killed
        while it waits; see :class:`~airflow_provider_bloq.operators._create.BloqCreateOperator`. Members and
        alias stay as they were asked for.
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
        #: The cluster, and the service that this try has asked to move it to.
        self._begun: tuple[str, str] | None = None

    def trigger_class(self) -> type[CancellingTrigger]:
        """See :meth:`.WaitingOperator.trigger_class`."""
        from airflow_provider_bloq.triggers.wait import BloqClusterUpdateTrigger

        return BloqClusterUpdateTrigger

    def execute(self, context: Any) -> dict[str, Any]:
        """Ask for what is still missing, and wait until it is there.

        :return: The cluster without its credentials.
        """
        from airflow_provider_bloq.nodes.client import update

        cluster_id, wanted = self._wanted()
        change = self.hook.run(update(self.hook.clusters, cluster_id, wanted))
        self.log.info("%s: asked for %s", cluster_id, change)
        if change.service_id is not None:
            self._begun = (cluster_id, change.service_id)
        return self._done(cluster_id, wanted, self.clock() + self.patience, begun=self._begun is not None)

    def execute_complete(self, context: Any, event: Any, deadline: float, begun: bool) -> dict[str, Any]:
        """Go on where the trigger has waited.

        :param event: What it found.
        :param deadline: Until when to wait, in epoch seconds.
        :param begun: Whether this try has begun a change of service.
        :return: As :meth:`execute`.
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
        except BloqError as bad_news:
            # Those who look together may do so at a list that is a little older than the change.
            if not self._on_its_way(cluster_id, wanted):
                raise bad_news
            return self._done(cluster_id, wanted, deadline, begun=begun)
        self._begun = None
        return result

    def cancellation(self, service: dict[str, Any]) -> Flow[Any] | None:
        """Abort the change of service; see :meth:`.CancellingOperator.cancellation`."""
        from airflow_provider_bloq.nodes.client import ClustersApi, abort_update

        if self._begun is None:
            return None
        cluster_id, service_id = self._begun
        self.log.info("Aborting the update of %s, since the task is killed.", cluster_id)
        return abort_update(ClustersApi(**service), cluster_id, only_to=service_id)

    def _wanted(self) -> tuple[str, ClusterUpdate]:
        from airflow_provider_bloq.nodes.client import ClusterUpdate
        from airflow_provider_bloq.validation import node_id_of, untemplated

        with raise_as_fail_exception():
            wanted = ClusterUpdate(untemplated(self.capacity), self.service_id, self.alias)
            return node_id_of(self.cluster, "cluster"), wanted

    def _condition(self, cluster_id: str, wanted: ClusterUpdate) -> ClusterUpdated:
        from airflow_provider_bloq.nodes.conditions import ClusterUpdated

        return ClusterUpdated(cluster_id, wanted.service_id, wanted.capacity)

    def _on_its_way(self, cluster_id: str, wanted: ClusterUpdate) -> bool:
        from airflow_provider_bloq.nodes.client import remaining_changes

        change = remaining_changes(self.hook.clusters.get(cluster_id), wanted)
        return change.capacity is None

    def _done(
        self, cluster_id: str, wanted: ClusterUpdate, deadline: float, *, begun: bool
    ) -> dict[str, Any]:
        if self.wait_for_completion and (wanted.service_id, wanted.capacity) != (None, None):
            condition = self._condition(cluster_id, wanted)
            self.await_condition(condition, deadline, cancel=begun, begun=begun)
        self._begun = None
        return self.hook.clusters.get(cluster_id).public()


class BloqCreateClusterOperator(BloqCreateOperator):
    """Create a cluster and wait until it has started.

    Returns the cluster as the API describes it, without its user and password. Hand the result on as the
    ``node`` of ``BloqJsonRpcOperator`` or as the ``cluster`` of other operators.

    Retries leave exactly one cluster: see :class:`~airflow_provider_bloq.operators._create.BloqCreateOperator`,
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

    def api(self, service: dict[str, Any] | None = None) -> DeploymentsApi[Any]:
        """See :meth:`.BloqCreateOperator.api`."""
        from airflow_provider_bloq.nodes.client import ClustersApi

        return self.hook.clusters if service is None else ClustersApi(**service)

    def order(self) -> dict[str, Any]:
        """See :meth:`.BloqCreateOperator.order`."""
        from airflow_provider_bloq.nodes.client import ClustersApi
        from airflow_provider_bloq.validation import untemplated

        capacity = untemplated(self.capacity)
        return ClustersApi.order(self.service_id, self.auth_type, capacity=capacity, alias=self.alias)

    def started(self, id: str) -> Condition:  # noqa: A002 - the field's own name
        """See :meth:`.BloqCreateOperator.started`."""
        from airflow_provider_bloq.nodes.conditions import ClusterState

        return ClusterState(id)

    def trigger_class(self) -> type[CancellingTrigger]:
        """See :meth:`.WaitingOperator.trigger_class`."""
        from airflow_provider_bloq.triggers.wait import BloqClusterStartTrigger

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
        from airflow_provider_bloq.validation import node_id_of

        with raise_as_fail_exception():
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
        from airflow_provider_bloq.nodes.client import abort_update

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
        from airflow_provider_bloq.nodes.models import STOPPED

        clusters = self.hook.clusters.list()
        return [cluster.public() for cluster in clusters if self.include_stopped or cluster.state != STOPPED]
