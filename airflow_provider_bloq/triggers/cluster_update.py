"""Trigger that waits for the end of a cluster's update, and aborts it if the task is killed for that."""

from __future__ import annotations

from airflow_provider_bloq.clients.cluster_update import abort_update
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.triggers.cancelling import CancellingTrigger

__all__ = ["BloqClusterUpdateTrigger"]


class BloqClusterUpdateTrigger(CancellingTrigger):
    """Waits for an update, see :class:`~airflow_provider_bloq.conditions.clusters.ClusterUpdated`.

    It aborts only a change to the service that its condition names.
    """

    async def cancel(self, hook: BloqAsyncHook) -> None:
        """Abort the change of service; see :meth:`.CancellingTrigger.cancel`."""
        cluster_id, service_id = self.condition["cluster_id"], self.condition["service_id"]
        if service_id is not None:
            self.log.info("Aborting the update of %s, since the task is killed.", cluster_id)
            await hook.run(abort_update(hook.clusters, cluster_id, only_to=service_id))
