"""Where the blocks of a chain are read from, whatever answers there: a node's JSON-RPC, or Connect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.evm_logs import LogFilter
from airflow_provider_bloq.chains.headers import Header
from airflow_provider_bloq.chains.transfers import TransferFilter

__all__ = ["ChainSource"]


class ChainSource(ABC):
    """Reads what blocks hold. What is told of them depends on the blocks, not on who was asked."""

    @abstractmethod
    def headers(self, first: int, last: int) -> Flow[list[Header]]:
        """Read headers, from the first on as far as there are any.

        A reorg may have come between two of them.

        :param first: Height of the first.
        :param last: Height of the last.
        """

    @abstractmethod
    def transfers(self, wanted: TransferFilter, headers: Sequence[Header]) -> Flow[list[dict[str, Any]]]:
        """Read the transfers in blocks, in the order in which they came about.

        :param wanted: Which transfers.
        :param headers: The blocks, linked to one another.
        :return: The transfers as JSON, with ``height`` and ``block_hash``.
        :raises BloqReorg: One of the blocks is no longer part of the chain.
        """

    @abstractmethod
    def logs(self, wanted: LogFilter, headers: Sequence[Header]) -> Flow[list[dict[str, Any]]]:
        """Read the logs of contracts in blocks, in the order in which they came about.

        :param wanted: Which logs.
        :param headers: The blocks, linked to one another.
        :return: The logs as JSON, with ``height`` and ``block_hash``.
        :raises BloqReorg: One of the blocks is no longer part of the chain.
        :raises BloqConfigurationError: The chain has no contracts with logs.
        """
