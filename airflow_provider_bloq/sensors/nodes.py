"""Sensors that wait for nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.clients.templated import seconds_of
from airflow_provider_bloq.sensors.base import BloqSensor
from airflow_provider_bloq.sensors.rpc import BloqRpcSensor, number_of

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow_provider_bloq.conditions.condition import Condition

__all__ = ["BloqNodeSensor", "BloqNodeSyncedSensor"]


class BloqNodeSensor(BloqSensor):
    """Wait until a node is in a certain state.

    Returns the node as the API describes it, without its user and password. It fails with
    :class:`~airflow_provider_bloq.exceptions.BloqNotFound` if the account has no such node, and with
    :class:`~airflow_provider_bloq.exceptions.BloqNotStarted` if the node was stopped meanwhile.

    The arguments of :class:`~airflow_provider_bloq.sensors.base.BloqSensor` and Airflow's own sensors are
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
        from airflow_provider_bloq.clients.naming import node_id_of
        from airflow_provider_bloq.conditions.nodes import NodeState

        return NodeState(node_id_of(self.node), self.state)


class BloqNodeSyncedSensor(BloqRpcSensor):
    """Wait until a node has taken in its chain, up to so many blocks or seconds. If both are given, both must hold.

    Returns a dict: ``head`` with its ``height``, ``hash`` and ``time`` (seconds since the epoch),
    ``age_seconds``, and ``behind``: how many blocks the node knows that it lacks.

    The arguments of :class:`~airflow_provider_bloq.sensors.rpc.BloqRpcSensor`,
    :class:`~airflow_provider_bloq.sensors.base.BloqSensor` and Airflow's own sensors are taken as well.

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
        from airflow_provider_bloq.conditions.synced import NodeSynced

        seconds = self.within_seconds
        return NodeSynced(
            self.subject,
            number_of(self.within_blocks),
            None if seconds is None else seconds_of("within_seconds", seconds, self.task_id),
        )
