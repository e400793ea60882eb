"""Triggers that wait until what a task has created has started, and delete it if the task is killed for that."""

from __future__ import annotations

from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.triggers.cancelling import CancellingTrigger

__all__ = ["BloqClusterStartTrigger", "BloqNodeStartTrigger", "BloqStartTrigger"]


class BloqStartTrigger(CancellingTrigger):
    """What the two have in common. They delete nothing but what their condition names."""


class BloqNodeStartTrigger(BloqStartTrigger):
    """Waits until a node has started, see :class:`~airflow_provider_bloq.conditions.nodes.NodeState`."""

    async def cancel(self, hook: BloqAsyncHook) -> None:
        """Delete the node; see :meth:`.CancellingTrigger.cancel`."""
        node_id = self.condition["node_id"]
        self.log.info("Deleting %s, since the task is killed.", node_id)
        await hook.nodes.delete(node_id)


class BloqClusterStartTrigger(BloqStartTrigger):
    """Waits until a cluster has started, see :class:`~airflow_provider_bloq.conditions.clusters.ClusterState`."""

    async def cancel(self, hook: BloqAsyncHook) -> None:
        """Delete the cluster; see :meth:`.CancellingTrigger.cancel`."""
        cluster_id = self.condition["cluster_id"]
        self.log.info("Deleting %s, since the task is killed.", cluster_id)
        await hook.clusters.delete(cluster_id)
