"""Connect's JSON-RPC of Ethereum-like chains, ``POST /v1/<key>``, where the key is the credential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.connect.door import named_chain
from airflow_provider_bloq.testing.local.connect.path_keys import PathKeys
from airflow_provider_bloq.testing.local.inbound import body_of
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.rpc_calls import read_rpc_body
from airflow_provider_bloq.testing.local.upstreams import LazyUpstream

__all__ = ["EVM_CHAINS", "EvmApi"]

#: The hosts that Bloq is known to have had.
EVM_CHAINS = ("eth", "etc", "kotti", "ropsten")


@dataclass(frozen=True, slots=True)
class EvmApi:
    """The route of JSON-RPC."""

    backend: Backend
    keys: PathKeys
    chains: Mapping[str, LazyUpstream]
    session: aiohttp.ClientSession

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.post("/{key}", self.call)]

    async def call(self, request: web.Request) -> web.Response:
        """Pass a call on to the chain that the key opens."""
        chain = self.keys.chain(request.match_info["key"])
        # On a host of this machine, which names no chain, the key is enough.
        if chain is None or named_chain(request.headers.get("Host")) not in (None, chain):
            raise ApiProblem(
                self.backend.options.connect_unknown_key_status,
                "InvalidKey",
                "The key does not open this chain",
            )
        calls = read_rpc_body(await body_of(request))
        for method in calls.methods:
            self.backend.counters.rpc(f"connect:{chain}", method)
        url = await self.chains[chain].url()
        try:
            headers = {"Content-Type": "application/json"}
            async with self.session.post(url, data=calls.passed_on, headers=headers) as answer:
                return web.Response(
                    status=answer.status, body=await answer.read(), content_type="application/json"
                )
        except aiohttp.ClientError as error:
            raise ApiProblem(502, "ChainFailed", "The chain behind Connect does not answer") from error
