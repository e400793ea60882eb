"""What a watcher's look at a chain gives: the last final block, and the means to read on."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_bloq.chains.following import ReadHeaders
from airflow_provider_bloq.chains.headers import Header
from airflow_provider_bloq.chains.source import ChainSource
from airflow_provider_bloq.clients.connect import ConnectApi
from airflow_provider_bloq.clients.jsonrpc import RpcApi

__all__ = ["Sight"]


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look gave, and how to read more of the chain.

    :param final: The last final block; None if there is none yet, or the chain has just changed.
    :param client: What told so, and runs the flows that read on.
    :param source: Reads more, or takes what another watcher has just read.
    """

    final: Header | None
    client: RpcApi | ConnectApi
    source: ChainSource

    @property
    def headers(self) -> ReadHeaders:
        """Reads headers."""
        return self.source.headers
