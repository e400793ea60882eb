"""One Bitcoin-like chain of Connect: its node, started on first use, and its index, always current."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from airflow_provider_bloq.testing.local.connect.follower import Follower, News
from airflow_provider_bloq.testing.local.connect.index import AddressIndex
from airflow_provider_bloq.testing.local.connect.node_rpc import NodeRefusal, NodeRpc
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.upstreams import LazyUpstream

__all__ = ["ChainView", "UtxoChain"]


@dataclass(frozen=True, slots=True)
class ChainView:
    """A chain as of one request: its node, and the index in step with it."""

    rpc: NodeRpc
    index: AddressIndex


class UtxoChain:
    """A chain that answers REST requests and feeds the stream.

    :param name: ``btc`` or ``bch``.
    :param upstream: Its node.
    :param session: For the calls to the node.
    :param tell: Called with each news and the name of the chain.
    """

    def __init__(
        self,
        name: str,
        upstream: LazyUpstream,
        session: aiohttp.ClientSession,
        tell: Callable[[str, News], None],
    ) -> None:
        self.name = name
        self._upstream = upstream
        self._session = session
        self._tell = tell
        self._opening = asyncio.Lock()
        self._rpc: NodeRpc | None = None
        self._follower: Follower | None = None

    async def now(self) -> ChainView:
        """Return the chain as its node has it at this moment.

        :raises ApiProblem: There is no node (503) or it does not answer (502).
        """
        async with self._opening:
            if self._rpc is None or self._follower is None:
                self._rpc = NodeRpc(await self._upstream.url(), self._session)
                self._follower = Follower(self._rpc, self._told)
        try:
            await self._follower.catch_up()
        except NodeRefusal as refusal:
            raise ApiProblem(502, "ChainFailed", f"The node behind Connect refuses: {refusal}") from refusal
        return ChainView(self._rpc, self._follower.index)

    async def close(self) -> None:
        """Stop the node."""
        await self._upstream.stop()

    def _told(self, news: News) -> None:
        self._tell(self.name, news)
