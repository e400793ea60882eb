"""Flows that are run against a scripted node of an EVM chain."""

from __future__ import annotations

from typing import Any

from airflow_provider_bloq.chains.logs import LogFilter, read_logs
from tests.chains.evm_node import EvmNode
from tests.clients.scripted_node import ScriptedNode, StartNode

__all__ = ["ANY", "Asked"]

ANY = LogFilter.of()


class Asked:
    """A scripted node of an EVM chain, and flows run against it."""

    def __init__(self, start: StartNode, length: int) -> None:
        self.evm = EvmNode(length)
        self._node: ScriptedNode = start(self.evm)
        self.rpc = self._node.rpc.api

    def run(self, flow: Any) -> Any:
        return self._node.bloq.run(flow)

    def logs(self, first: int, last: int, wanted: LogFilter = ANY) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.run(read_logs(self.rpc, wanted, self.evm.blocks[first : last + 1]))
        return found
