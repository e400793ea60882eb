"""Connect: its REST API, its JSON-RPC and its stream as one application."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.connect.access import ChainAccess, PathKeyStore, named_chain
from airflow_provider_bloq.testing.local.connect.chain import UtxoChain
from airflow_provider_bloq.testing.local.connect.rest import (
    AddressesRoutes,
    BlocksRoutes,
    StatusRoutes,
    TransactionsRoutes,
)
from airflow_provider_bloq.testing.local.connect.stream import SocketSessions
from airflow_provider_bloq.testing.local.connect.stream_api import StreamRoutes
from airflow_provider_bloq.testing.local.errors import LocalBloqNotFound
from airflow_provider_bloq.testing.local.gateway import read_rpc_body
from airflow_provider_bloq.testing.local.inbound import body_of
from airflow_provider_bloq.testing.local.pipeline import plain_application, service_application
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.upstreams import LazyUpstream, default_connect_upstreams

__all__ = [
    "EVM_CHAINS",
    "ConnectService",
    "EvmRoutes",
]


#: The Ethereum-like chains for which Bloq had hosts.
EVM_CHAINS = ("eth", "etc", "kotti", "ropsten")


@dataclass(frozen=True, slots=True)
class EvmRoutes:
    """JSON-RPC of Ethereum-like chains, ``POST /v1/<key>``; the path key is the credential."""

    backend: Backend
    keys: PathKeyStore
    chains: Mapping[str, LazyUpstream]
    session: aiohttp.ClientSession

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.post("/{key}", self.call)]

    async def call(self, request: web.Request) -> web.Response:
        """Forward a call to the chain of the path key."""
        chain = self.keys.chain(request.match_info["key"])
        # The host of this machine names no chain, so the key decides.
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


_SERVICE = "connect"
_REST_PREFIX = "/api/v1"
_RPC_PREFIX = "/v1"
#: A separate listener in the counters: a token must never be sent there.
_RPC_LISTENER = "connect-rpc"
_UTXO_CHAINS = ("btc", "bch")


class ConnectService:
    """All of Connect. Used on the event loop only; its chains start at their first use."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        # No limit: the node decides how many calls it answers at once.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        makers = backend.options.connect_upstreams
        if makers is None:
            makers = default_connect_upstreams()
        self._keys = PathKeyStore()
        self.sessions = SocketSessions(backend)
        #: The chains of its REST API, which nodes use as well.
        self.shared_chains = {name: LazyUpstream(name, makers.get(name)) for name in _UTXO_CHAINS}
        self._utxo = {
            name: UtxoChain(name, upstream, self._session, self.sessions.publish)
            for name, upstream in self.shared_chains.items()
        }
        self._evm = {name: LazyUpstream(name, makers.get(name)) for name in EVM_CHAINS}
        self.sessions.follow(self._utxo)

    def application(self) -> web.Application:
        """Return the application: REST, JSON-RPC and stream."""
        access = ChainAccess(self._backend, self._utxo)
        rest = [
            *AddressesRoutes(access).routes(),
            *BlocksRoutes(access).routes(),
            *TransactionsRoutes(access).routes(),
            *StatusRoutes(access).routes(),
        ]
        rpc = EvmRoutes(self._backend, self._keys, self._evm, self._session).routes()
        stream = StreamRoutes(self._backend, access, self.sessions).routes()
        application = plain_application(
            self._backend, [*stream, web.get("/", _health), web.get("/status", _health)]
        )
        application.add_subapp(
            _REST_PREFIX, service_application(self._backend, _SERVICE, rest, prefix=_REST_PREFIX)
        )
        application.add_subapp(
            _RPC_PREFIX,
            service_application(self._backend, _SERVICE, rpc, listener=_RPC_LISTENER),
        )
        return application

    def create_key(self, chain: str) -> str:
        """Create a path key for the JSON-RPC of a chain and return it.

        :raises LocalBloqNotFound: Connect has no JSON-RPC of that chain.
        """
        if chain not in self._evm:
            raise LocalBloqNotFound(f"JSON-RPC of {chain} in Connect")
        return self._keys.create(chain)

    def delete_key(self, key: str) -> None:
        """Delete a path key.

        :raises LocalBloqNotFound: There is no such key.
        """
        self._keys.delete(key)

    async def close(self) -> None:
        """End all connections and stop all chains."""
        await self.sessions.close()
        await asyncio.gather(
            *(chain.close() for chain in self._utxo.values()),
            *(chain.stop() for chain in self._evm.values()),
        )
        await self._session.close()


async def _health(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})
