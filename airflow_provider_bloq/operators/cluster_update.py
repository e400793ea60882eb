"""Operator that changes a cluster and waits until it is what it was to become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.exceptions import BloqError, BloqWaitTimeout
from airflow_provider_bloq.hooks.failures import failing_at_once
from airflow_provider_bloq.operators.base import BloqOperator
from airflow_provider_bloq.operators.waiting import WaitingOperator

if TYPE_CHECKING:
    from airflow_provider_bloq.auth.flow import Flow
    from airflow_provider_bloq.clients.cluster_update import Wanted
    from airflow_provider_bloq.conditions.clusters import ClusterUpdated
    from airflow_provider_bloq.triggers.cancelling import CancellingTrigger

__all__ = ["BloqUpdateClusterOperator"]


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
    :param wait: Whether to wait until it is done.
    :param poll_interval: Time between two looks at the cluster: seconds, or a timedelta; at least 0.1 s.
    :param wait_timeout: Time to wait, from each try's beginning: seconds, or a timedelta.
        ``execution_timeout`` shortens it.
    :param deferrable: Whether to wait in the triggerer.
    :param cancel_on_kill: Whether to abort the change of service that this try has begun if the task is killed
        while it waits; see :class:`~airflow_provider_bloq.operators.creation.BloqCreateOperator`. Members and
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
        wait: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cluster = cluster
        self.capacity = capacity
        self.service_id = service_id
        self.alias = alias
        self.wait = wait
        #: The cluster, and the service that this try has asked to move it to.
        self._begun: tuple[str, str] | None = None

    def trigger_class(self) -> type[CancellingTrigger]:
        """See :meth:`.WaitingOperator.trigger_class`."""
        from airflow_provider_bloq.triggers.cluster_update import BloqClusterUpdateTrigger

        return BloqClusterUpdateTrigger

    def execute(self, context: Any) -> dict[str, Any]:
        """Ask for what is still missing, and wait until it is there.

        :return: The cluster without its credentials.
        """
        from airflow_provider_bloq.clients.cluster_update import update

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
        from airflow_provider_bloq.triggers.outcome import result_of

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
        from airflow_provider_bloq.clients.cluster_update import abort_update
        from airflow_provider_bloq.clients.clusters import ClustersApi

        if self._begun is None:
            return None
        cluster_id, service_id = self._begun
        self.log.info("Aborting the update of %s, since the task is killed.", cluster_id)
        return abort_update(ClustersApi(**service), cluster_id, only_to=service_id)

    def _wanted(self) -> tuple[str, Wanted]:
        from airflow_provider_bloq.clients.cluster_update import Wanted
        from airflow_provider_bloq.clients.limits import untemplated
        from airflow_provider_bloq.clients.naming import node_id_of

        with failing_at_once():
            wanted = Wanted(untemplated(self.capacity), self.service_id, self.alias)
            return node_id_of(self.cluster, "cluster"), wanted

    def _condition(self, cluster_id: str, wanted: Wanted) -> ClusterUpdated:
        from airflow_provider_bloq.conditions.clusters import ClusterUpdated

        return ClusterUpdated(cluster_id, wanted.service_id, wanted.capacity)

    def _on_its_way(self, cluster_id: str, wanted: Wanted) -> bool:
        from airflow_provider_bloq.clients.cluster_update import change_for

        change = change_for(self.hook.clusters.get(cluster_id), wanted)
        return change.capacity is None

    def _done(self, cluster_id: str, wanted: Wanted, deadline: float, *, begun: bool) -> dict[str, Any]:
        if self.wait and (wanted.service_id, wanted.capacity) != (None, None):
            condition = self._condition(cluster_id, wanted)
            self.await_condition(condition, deadline, cancel=begun, begun=begun)
        self._begun = None
        return self.hook.clusters.get(cluster_id).public()
