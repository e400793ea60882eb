"""The interface through which watchers read a chain, and its implementation for a node."""

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
    """Reads the contents of blocks. The result does not depend on the source."""

    @abstractmethod
    def headers(self, first: int, last: int) -> Flow[list[BlockHeader]]:
        """Read headers from the first on, as far as they exist.

        They may not be linked if a reorg happened in between.

        :param first: Height of the first.
        :param last: Height of the last.
        """

    @abstractmethod
    def transfers(self, wanted: TransferFilter, headers: Sequence[BlockHeader]) -> Flow[list[dict[str, Any]]]:
        """Read the transfers in blocks, in chain order.

        :param wanted: The transfers to return.
        :param headers: The blocks, each the parent of the next.
        :return: The transfers as JSON, with ``height`` and ``block_hash``.
        :raises BloqReorg: One of the blocks is no longer in the chain.
        """

    @abstractmethod
    def logs(self, wanted: LogFilter, headers: Sequence[BlockHeader]) -> Flow[list[dict[str, Any]]]:
        """Read the logs of contracts in blocks, in chain order.

        :param wanted: The logs to return.
        :param headers: The blocks, each the parent of the next.
        :return: The logs as JSON, with ``height`` and ``block_hash``.
        :raises BloqReorg: One of the blocks is no longer in the chain.
        :raises BloqConfigurationError: The chain has no contracts with logs.
        """


@dataclass(frozen=True, slots=True)
class NodeSource(ChainSource):
    """Reads a chain from a node, sharing results with other watchers.

    :param rpc: The node.
    :param family: The chain's family.
    :param reads: Results shared by all watchers of the chain.
    """

    rpc: RpcApi
    family: ChainFamily
    reads: SharedReads

    def headers(self, first: int, last: int) -> Flow[list[BlockHeader]]:
        return (
            yield from self.reads.once(
                ("headers", first, last), lambda: read_headers(self.rpc, self.family, first, last)
            )
        )

    def transfers(self, wanted: TransferFilter, headers: Sequence[BlockHeader]) -> Flow[list[dict[str, Any]]]:
        read = evm_transfers if self.family is ChainFamily.EVM else bitcoin_transfers
        return (yield from read(self.rpc, self.reads, wanted, headers))

    def logs(self, wanted: LogFilter, headers: Sequence[BlockHeader]) -> Flow[list[dict[str, Any]]]:
        if self.family is not ChainFamily.EVM:
            raise BloqConfigurationError.of(
                "node", "its chain has no contract logs", "Use a node of an EVM chain."
            )
        return (yield from read_logs(self.rpc, wanted, headers))
