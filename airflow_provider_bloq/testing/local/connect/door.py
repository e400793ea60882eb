"""Who may use Connect, and which chain a request is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from airflow_provider_bloq.testing.local.authentication import ANY_ACCESS, require_grant
from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.connect.utxo_chain import ChainView, UtxoChain

__all__ = ["Door", "chain_label"]

_DEFAULT_CHAIN = "btc"


def chain_label(host: str) -> str:
    """Return the first label of a Host header: the chain in ``btc.connect.bloq.cloud``."""
    return host.partition(":")[0].partition(".")[0].lower()


@dataclass(frozen=True, slots=True)
class Door:
    """Lets requests in and leads each to its chain."""

    backend: Backend
    chains: Mapping[str, UtxoChain]

    def chain(self, request: web.Request) -> UtxoChain:
        """Return the chain that the Host header names; Bitcoin where it names none."""
        return self.chains.get(chain_label(request.host), self.chains[_DEFAULT_CHAIN])

    async def enter(self, request: web.Request) -> ChainView:
        """Check the token and return the chain as it stands.

        :raises ApiProblem: The token does not do (401, 403), or there is no chain (502, 503).
        """
        require_grant(self.backend, request, ANY_ACCESS)
        return await self.chain(request).now()
