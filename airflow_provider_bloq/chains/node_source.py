"""A node's JSON-RPC as the source of a chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.bitcoin_transfers import bitcoin_transfers
from airflow_provider_bloq.chains.evm_logs import LogFilter, read_logs
from airflow_provider_bloq.chains.evm_transfers import evm_transfers
from airflow_provider_bloq.chains.families import Family
from airflow_provider_bloq.chains.headers import Header, read_headers
from airflow_provider_bloq.chains.shared_reads import SharedReads
from airflow_provider_bloq.chains.source import ChainSource
from airflow_provider_bloq.chains.transfers import TransferFilter
from airflow_provider_bloq.clients.jsonrpc import RpcApi
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["NodeSource"]


@dataclass(frozen=True, slots=True)
class NodeSource(ChainSource):
    """Reads a chain from a node, or takes what another watcher has just read.

    :param rpc: The node.
    :param family: The chain's family.
    :param reads: What is read of the chain, once for all its watchers.
    """

    rpc: RpcApi
    family: Family
    reads: SharedReads

    def headers(self, first: int, last: int) -> Flow[list[Header]]:
        """See :meth:`ChainSource.headers`."""
        return (
            yield from self.reads.once(
                ("headers", first, last), lambda: read_headers(self.rpc, self.family, first, last)
            )
        )

    def transfers(self, wanted: TransferFilter, headers: Sequence[Header]) -> Flow[list[dict[str, Any]]]:
        """See :meth:`ChainSource.transfers`."""
        read = evm_transfers if self.family is Family.EVM else bitcoin_transfers
        return (yield from read(self.rpc, self.reads, wanted, headers))

    def logs(self, wanted: LogFilter, headers: Sequence[Header]) -> Flow[list[dict[str, Any]]]:
        """See :meth:`ChainSource.logs`."""
        if self.family is not Family.EVM:
            raise BloqConfigurationError.of(
                "node", "its chain has no contracts with logs", "Name one of an EVM chain."
            )
        return (yield from read_logs(self.rpc, wanted, headers))
