"""The last final block of a chain, as all watchers of the chain look at it together."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.families import Family
from airflow_provider_bloq.chains.finality import Finality
from airflow_provider_bloq.chains.following import ReadHeaders
from airflow_provider_bloq.chains.head import Head, read_head
from airflow_provider_bloq.chains.headers import (
    Header,
    read_final_by_confirmations,
    read_final_by_tag,
    read_headers,
)
from airflow_provider_bloq.chains.shared_reads import SharedReads
from airflow_provider_bloq.clients.jsonrpc import RpcApi
from airflow_provider_bloq.conditions.rpc_subject import Look, SubjectTarget

__all__ = ["FinalBlock", "Sight"]


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look gave, and how to read more of the chain.

    :param final: The last final block; None if there is none yet.
    :param rpc: The node that told so.
    :param family: The chain's family.
    :param reads: What is read of the chain, once for all its watchers.
    """

    final: Header | None
    rpc: RpcApi
    family: Family
    reads: SharedReads

    @property
    def headers(self) -> ReadHeaders:
        """Reads headers, or takes those that another watcher has just read."""

        def read(first: int, last: int) -> Flow[list[Header]]:
            return (
                yield from self.reads.once(
                    ("headers", first, last), lambda: read_headers(self.rpc, self.family, first, last)
                )
            )

        return read


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
            return Sight(final, rpc, family, reads)

        return look
