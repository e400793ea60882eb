"""The last final block of a chain, as all watchers of the chain look at it together through a node."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.families import Family
from airflow_provider_bloq.chains.finality import Finality
from airflow_provider_bloq.chains.head import Head, read_head
from airflow_provider_bloq.chains.headers import Header, read_final_by_confirmations, read_final_by_tag
from airflow_provider_bloq.chains.node_source import NodeSource
from airflow_provider_bloq.chains.shared_reads import SharedReads
from airflow_provider_bloq.clients.jsonrpc import RpcApi
from airflow_provider_bloq.conditions.rpc_subject import Look, SubjectTarget
from airflow_provider_bloq.triggers.sight import Sight

__all__ = ["FinalBlock"]


@dataclass(frozen=True, slots=True)
class FinalBlock(SubjectTarget):
    """The last final block of a chain; seen as a :class:`Sight`.

    :param finality: Which block is final.
    """

    finality: Finality

    def looking_by(self, rpc: RpcApi) -> Look:
        """See :meth:`SubjectTarget.looking_by`."""
        reads = SharedReads()
        known: list[tuple[Head, Header | None]] = []

        def final_block(family: Family) -> Flow[Header | None]:
            if self.finality.tag is not None:
                return (yield from read_final_by_tag(rpc, family, self.finality.tag))
            head = yield from read_head(rpc, family)
            if not known or known[0][0] != head:
                final = yield from read_final_by_confirmations(rpc, family, self.finality, head)
                known[:] = [(head, final)]
            return known[0][1]

        def look(family: Family, _: frozenset[Hashable]) -> Flow[Sight]:
            final = yield from final_block(family)
            reads.renew()
            return Sight(final, rpc, NodeSource(rpc, family, reads))

        return look
