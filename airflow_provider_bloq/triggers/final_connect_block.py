"""The last final block of a chain, as all watchers of the chain look at it together through Connect."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.connect_source import ConnectSource, header_of
from airflow_provider_bloq.chains.finality import Finality
from airflow_provider_bloq.chains.headers import Header
from airflow_provider_bloq.chains.shared_reads import SharedReads
from airflow_provider_bloq.clients.connect import ConnectApi
from airflow_provider_bloq.conditions.condition import Observer
from airflow_provider_bloq.conditions.connect import ConnectTarget
from airflow_provider_bloq.exceptions import BloqNotFound, BloqUnavailable
from airflow_provider_bloq.triggers.announcing import Announced
from airflow_provider_bloq.triggers.sight import Sight

if TYPE_CHECKING:
    from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
    from airflow_provider_bloq.hooks.stream_news import News

__all__ = ["FinalConnectBlock"]


@dataclass(frozen=True, slots=True)
class FinalConnectBlock(ConnectTarget, Announced):
    """The last final block of a chain; seen as a :class:`Sight`.

    :param finality: Which block is final, by confirmations.
    :param stream: Whether Connect's stream should announce new blocks.
    """

    finality: Finality
    stream: bool

    def news(self, hook: BloqAsyncHook) -> News | None:
        """See :meth:`Announced.news`."""
        return hook.connect(self.chain, self.network).news() if self.stream else None

    def looking_by(self, api: ConnectApi) -> Observer:
        """See :meth:`ConnectTarget.looking_by`."""
        reads = SharedReads()
        source = ConnectSource(api, reads)
        known: dict[str, Header] = {}

        def look(_: frozenset[Hashable]) -> Flow[Sight]:
            # What Connect has taken in, not what its node has: it can be asked about that only.
            newest = yield from ConnectApi.last_block.flow(api)
            head = newest.synced_hash or newest.last_hash
            if head is None:
                raise BloqUnavailable("Connect gave a status without the newest block.")
            reads.renew()
            final = known.get(head)
            if final is None:
                final = yield from self._below(api, source, head)
                known.clear()
                # That there is none may be since Connect does not know its own newest block yet: it is asked again.
                if final is not None:
                    known[head] = final
            return Sight(final, api, source)

        return look

    def _below(self, api: ConnectApi, source: ConnectSource, head: str) -> Flow[Header | None]:
        try:
            newest = yield from ConnectApi.block.flow(api, head)
        except BloqNotFound:
            return None
        height = self.finality.height_below(newest.height)
        if height == newest.height:
            return header_of(newest)
        headers = (yield from source.headers(height, height)) if height >= 0 else []
        return headers[0] if headers else None
