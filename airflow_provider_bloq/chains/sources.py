"""Where the blocks of a chain are read from, whatever answers there: a node's JSON-RPC, or Connect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.chains.blocks import BlockHeader, read_headers
from airflow_provider_bloq.chains.logs import LogFilter, read_logs
from airflow_provider_bloq.chains.queries import ChainFamily, SharedReads
from airflow_provider_bloq.chains.transfers import TransferFilter, bitcoin_transfers, evm_transfers
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.rpc.client import RpcApi

__all__ = [
    "ChainSource",
    "NodeSource",
]


class ChainSource(ABC):
    """Reads what blocks hold. What is told of them depends on the blocks, not on who was asked."""

    @abstractmethod
    def headers(self, first: int, last: int) -> Flow[list[BlockHeader]]:
        """Read headers, from the first on as far as there are any.

        A reorg may have come between two of them.

        :param first: Height of the first.
        :param last: Height of the last.
        """

    @abstractmethod
    def transfers(self, wanted: TransferFilter, headers: Sequence[BlockHeader]) -> Flow[list[dict[str, Any]]]:
        """Read the transfers in blocks, in the order in which they came about.

        :param wanted: Which transfers.
        :param headers: The blocks, linked to one another.
        :return: The transfers as JSON, with ``height`` and ``block_hash``.
        :raises BloqReorg: One of the blocks is no longer part of the chain.
        """

    @abstractmethod
    def logs(self, wanted: LogFilter, headers: Sequence[BlockHeader]) -> Flow[list[dict[str, Any]]]:
        """Read the logs of contracts in blocks, in the order in which they came about.

        :param wanted: Which logs.
        :param headers: The blocks, linked to one another.
        :return: The logs as JSON, with ``height`` and ``block_hash``.
        :raises BloqReorg: One of the blocks is no longer part of the chain.
        :raises BloqConfigurationError: The chain has no contracts with logs.
        """


@dataclass(frozen=True, slots=True)
class NodeSource(ChainSource):
    """Reads a chain from a node, or takes what another watcher has just read.

    :param rpc: The node.
    :param family: The chain's family.
    :param reads: What is read of the chain, once for all its watchers.
    """

    rpc: RpcApi
    family: ChainFamily
    reads: SharedReads

    def headers(self, first: int, last: int) -> Flow[list[BlockHeader]]:
        """See :meth:`ChainSource.headers`."""
        return (
            yield from self.reads.once(
                ("headers", first, last), lambda: read_headers(self.rpc, self.family, first, last)
            )
        )

    def transfers(self, wanted: TransferFilter, headers: Sequence[BlockHeader]) -> Flow[list[dict[str, Any]]]:
        """See :meth:`ChainSource.transfers`."""
        read = evm_transfers if self.family is ChainFamily.EVM else bitcoin_transfers
        return (yield from read(self.rpc, self.reads, wanted, headers))

    def logs(self, wanted: LogFilter, headers: Sequence[BlockHeader]) -> Flow[list[dict[str, Any]]]:
        """See :meth:`ChainSource.logs`."""
        if self.family is not ChainFamily.EVM:
            raise BloqConfigurationError.of(
                "node", "its chain has no contracts with logs", "Name one of an EVM chain."
            )
        return (yield from read_logs(self.rpc, wanted, headers))
