"""Conditions on a node: the state that it is in."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.clients.models import STARTED, STOPPED, Node
from airflow_provider_bloq.clients.nodes import NodesApi
from airflow_provider_bloq.conditions.condition import (
    Condition,
    Failed,
    Memory,
    Met,
    Observer,
    Reader,
    Target,
    Verdict,
    Waiting,
)
from airflow_provider_bloq.exceptions import BloqNotFound, BloqNotStarted

__all__ = ["NodeList", "NodeState"]


@dataclass(frozen=True, slots=True)
class NodeList(Target):
    """All nodes of the account: one list serves everybody who waits for any of them."""

    def observer(self, reader: Reader) -> Observer:
        """See :meth:`Target.observer`; gives the nodes by their ids."""

        def observe(_: frozenset[Hashable]) -> Flow[dict[str, Node]]:
            return {node.id: node for node in (yield from NodesApi.list.flow(reader.nodes))}

        return observe


@dataclass(frozen=True, slots=True)
class NodeState(Condition):
    """A node is in a certain state.

    :param node_id: Its id.
    :param state: The state; ``started`` and ``stopped`` are in evidence.
    """

    kind: ClassVar[str] = "node_state"

    node_id: str
    state: str = STARTED

    @property
    def target(self) -> Target:
        """See :attr:`Condition.target`."""
        return NodeList()

    def judge(self, seen: dict[str, Node], memory: Memory | None) -> Verdict:
        """See :meth:`Condition.judge`; the result is the node without its credentials."""
        node = seen.get(self.node_id)
        if node is None:
            return Failed(BloqNotFound(f"{self.node_id} is not in the list of this account's nodes."))
        if node.state == self.state:
            return Met(node.public())
        if node.state == STOPPED:
            return Failed(
                BloqNotStarted(
                    f"{node.id} was stopped, so that it will not be {self.state!r} any more.", node_id=node.id
                )
            )
        return Waiting(f"{node.id} is {node.state!r}")
