"""What the event triggers that watch a chain through a node have in common: whose JSON-RPC they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.chains.finality import Finality
from airflow_provider_bloq.clients.models import Cluster, Node
from airflow_provider_bloq.conditions.rpc_subject import RpcSubject
from airflow_provider_bloq.triggers.event_trigger import BloqEventTrigger
from airflow_provider_bloq.triggers.final_block import FinalBlock

if TYPE_CHECKING:
    from airflow_provider_bloq.conditions.condition import Target

__all__ = ["BloqChainTrigger"]


class BloqChainTrigger(BloqEventTrigger):
    """Follows a chain through a node; see the subclasses for the events.

    What holds for restarts, reorgs and failures, and the arguments ``bloq_conn_id``, ``start``, ``poll_interval`` and
    ``label`` are those of :class:`~airflow_provider_bloq.triggers.event_trigger.BloqEventTrigger`. With a label it
    goes on from the same place with another node of the chain.

    :param node: A node or cluster of the chain, its id, what ``BloqCreateNodeOperator`` returned, a URL, or
        ``connect:<chain>`` for the JSON-RPC that Connect has for the chain.
    :param confirmations: A block is final with so many confirmations; the head has one. 12 if neither this nor
        ``finality`` is given.
    :param finality: ``finalized`` or ``safe``: the block that the node calls so is the last final one. EVM chains
        with proof of stake only.
    :param tls_fingerprint: SHA-256 fingerprint of the node's certificate, where ``node`` does not tell it.
    :param port: The port, where it is not the usual one of the chain.
    :param path: The path, likewise.
    :param family: ``evm`` or ``bitcoin``, for a URL and for chains of which it is not known.
    :raises BloqConfigurationError: One of the arguments cannot be used.
    """

    def __init__(
        self,
        *,
        node: Node | Cluster | Mapping[str, Any] | str,
        confirmations: int | None = None,
        finality: str | None = None,
        tls_fingerprint: str | None = None,
        port: int | None = None,
        path: str | None = None,
        family: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(finality=Finality.of(confirmations, finality), **arguments)
        self.subject = RpcSubject.of(
            node, tls_fingerprint=tls_fingerprint, port=port, path=path, family=family
        )

    @property
    def target(self) -> Target:
        """See :attr:`BloqEventTrigger.target`."""
        return FinalBlock(self.subject, self.finality)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See :meth:`BloqEventTrigger.serialize`."""
        classpath, arguments = super().serialize()
        return classpath, {**arguments, **asdict(self.subject), "finality": self.finality.tag}
