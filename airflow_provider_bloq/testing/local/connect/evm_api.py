"""Connect's JSON-RPC of Ethereum-like chains, ``POST /v1/<key>``, where the key is the credential."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.connect.door import chain_label
from airflow_provider_bloq.testing.local.connect.lazy_upstream import LazyUpstream
from airflow_provider_bloq.testing.local.connect.path_keys import PathKeys
from airflow_provider_bloq.testing.local.problems import ApiProblem

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
        named = chain_label(request.host)
        if chain is None or (named in EVM_CHAINS and named != chain):
            raise ApiProblem(
                self.backend.options.connect_unknown_key_status,
                "InvalidKey",
                "The key does not open this chain",
            )
        body = await request.read()
        for method in _methods(body):
            self.backend.counters.rpc(f"connect:{chain}", method)
        url = await self.chains[chain].url()
        try:
            headers = {"Content-Type": "application/json"}
            async with self.session.post(url, data=body, headers=headers) as answer:
                return web.Response(
                    status=answer.status, body=await answer.read(), content_type="application/json"
                )
        except aiohttp.ClientError as error:
            raise ApiProblem(502, "ChainFailed", "The chain behind Connect does not answer") from error


def _methods(body: bytes) -> list[str]:
    try:
        parsed: Any = json.loads(body)
    except ValueError:
        return []
    calls = parsed if isinstance(parsed, list) else [parsed]
    return [str(call["method"]) for call in calls if isinstance(call, dict) and "method" in call]
