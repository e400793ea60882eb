"""The calls in a body of JSON-RPC: their methods, and those that a Bitcoin node does not let through."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from airflow_provider_bloq.testing.local.authentication import ANY_ACCESS, bearer_grant
from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.catalogue import SIDECAR_PORT, Offer, rpc_port
from airflow_provider_bloq.testing.local.certificates import KeyedCertificate, load_into, server_context
from airflow_provider_bloq.testing.local.fleet import Cluster, Node
from airflow_provider_bloq.testing.local.inbound import (
    MalformedJson,
    basic_login,
    body_of,
    positive_integer,
    read_json,
)
from airflow_provider_bloq.testing.local.listener import Listener, Place
from airflow_provider_bloq.testing.local.pipeline import service_application
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.upstreams import Behind

__all__ = [
    "Gateway",
    "RpcBody",
    "identity",
    "read_rpc_body",
]


#: What ends a Bitcoin node, cuts it off, makes it forget or writes its host's files. Blocks may be made and
#: unmade, since tests live by that; wallet calls the node refuses by itself, but for the last one here.
_HARMFUL = frozenset({
    "stop", "addnode", "addconnection", "addpeeraddress", "disconnectnode", "setban", "clearbanned",
    "setnetworkactive", "sendmsgtopeer", "pruneblockchain", "setprunelock", "dumptxoutset", "loadtxoutset",
    "importmempool", "savemempool", "savefeeestimates", "maxmempool", "logging", "setscriptthreadsenabled",
    "sweepprivkeys",
})  # fmt: skip
#: No node has it, so that the node itself answers as to every method that it does not have: -32601.
_UNKNOWN = "blocked"


@dataclass(frozen=True, slots=True)
class RpcBody:
    """A body of JSON-RPC.

    :param methods: The methods that it calls.
    :param passed_on: What the chain is given.
    """

    methods: tuple[str, ...]
    passed_on: bytes


def read_rpc_body(body: bytes, *, guarded: bool = False) -> RpcBody:
    """Look into a body. What is no JSON at all is passed on, for the chain to say so.

    :param body: The body.
    :param guarded: Whether harmful calls are kept back. So is then what the chain might read and we cannot:
        a Bitcoin node takes texts and numbers for JSON that are none.
    :raises ApiProblem: It is kept back, or cannot be read without risk (400).
    """
    if not body:
        return RpcBody((), body)
    try:
        told = read_json(body, first_of_twins=guarded)
    except MalformedJson as error:
        if guarded:
            raise _unreadable(error) from error
        return RpcBody((), body)
    except ValueError as error:
        raise _unreadable(error) from error
    calls = [call for call in (told if isinstance(told, list) else [told]) if isinstance(call, dict)]
    methods = tuple(str(call["method"]) for call in calls if "method" in call)
    if not guarded or _HARMFUL.isdisjoint(methods):
        return RpcBody(methods, body)
    for call in calls:
        if str(call.get("method")) in _HARMFUL:
            call["method"] = _UNKNOWN
    return RpcBody(methods, json.dumps(told).encode())


def _unreadable(error: ValueError) -> ApiProblem:
    return ApiProblem(400, "InvalidBody", f"The body is not JSON that can be read: {error}")


_AVALANCHE_METHOD = "info.getNodeVersion"


def identity(offer: Offer, method: str, path: str, body: bytes) -> dict[str, Any] | None:
    """Return the answer to a request that asks for the software; None if it asks for something else.

    :param offer: What the cluster was made from; its software is what is told.
    """
    major, minor = _version(offer.software)
    match (offer.chain, method, path):
        case ("avalanche", "POST", "/ext/info"):
            call = _call(body)
            if call.get("method") == _AVALANCHE_METHOD:
                version = f"{offer.chain}/{major}.{minor}.0"
                return {"jsonrpc": "2.0", "result": {"version": version}, "id": call.get("id")}
        case ("algorand", "GET", "/versions"):
            return {"build": {"major": major, "minor": minor, "build_number": 0}}
    return None


def _version(software: str) -> tuple[int, int]:
    found = re.search(r"(\d+)\.(\d+)$", software)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _call(body: bytes) -> dict[str, Any]:
    try:
        call = read_json(body)
    except ValueError:
        return {}
    return call if isinstance(call, dict) else {}


#: Chains whose nodes refuse the calls that would harm them.
_GUARDED = frozenset({"btc", "bch", "ltc"})
#: Seconds after which a chain that says nothing counts as one that does not answer.
_PATIENCE = 5.0


class Gateway:
    """Serves one deployment's RPC port and, on 8080, its management sidecar.

    :param deployment: The node or cluster.
    :param place: Its bound sockets; the gateway owns them.
    :param certificate: What it shows.
    :param upstream: What runs behind it.
    :param session: For the calls to the upstream.
    """

    def __init__(
        self,
        backend: Backend,
        deployment: Node | Cluster,
        place: Place,
        certificate: KeyedCertificate,
        upstream: Behind,
        session: aiohttp.ClientSession,
    ) -> None:
        self.ip = place.ip
        self.upstream = upstream
        self.certificate = certificate
        self._backend = backend
        self._deployment = deployment
        self._session = session
        self._context: ssl.SSLContext = server_context(certificate)
        port = rpc_port(deployment.offer.chain, deployment.offer.network)
        self._listeners = [
            Listener(
                service_application(backend, "rpc", self._routes(asked, port), listener=deployment.id),
                [bound],
                self._context,
            )
            for asked, bound in place.sockets.items()
        ]

    async def open(self) -> None:
        """Begin to answer."""
        for listener in self._listeners:
            await listener.open()

    async def close(self) -> None:
        """Give up the address and stop what runs behind it."""
        for listener in self._listeners:
            await listener.close()
        await self.upstream.stop()

    def show(self, certificate: KeyedCertificate) -> None:
        """Show another certificate from now on; open connections, which saw the old one, are closed."""
        self.certificate = certificate
        load_into(self._context, certificate)
        for listener in self._listeners:
            listener.drop_connections()

    def _routes(self, port: int, rpc: int) -> list[web.RouteDef]:
        routes: list[web.RouteDef] = []
        if port == SIDECAR_PORT:
            routes += [web.get("/status", self._status), web.get("/logs", self._logs)]
        if port == rpc:
            routes += [web.route("*", "/", self._proxy), web.route("*", "/{path:.+}", self._proxy)]
        return routes

    async def _status(self, request: web.Request) -> web.Response:
        self._admit(request)
        if self._state() != "started":
            return web.json_response(self._state())
        await self._look(await self.upstream.url())
        return web.json_response("healthy")

    async def _logs(self, request: web.Request) -> web.Response:
        self._admit(request)
        lines = list(self._deployment.log)
        wanted = request.headers.get("lines")
        return web.json_response(lines if wanted is None else lines[-positive_integer(wanted, "lines") :])

    async def _proxy(self, request: web.Request) -> web.Response:
        self._admit(request)
        offer = self._deployment.offer
        body = await body_of(request)
        calls = read_rpc_body(body, guarded=offer.chain in _GUARDED)
        for method in calls.methods:
            self._backend.counters.rpc(self._deployment.id, method)
            self._deployment.log.append(f"rpc {method}")
        if self._state() != "started":
            raise ApiProblem(503, "NodeNotReady", f"The node is {self._state()}")
        if not self.upstream.exists and (known := identity(offer, request.method, request.path, body)):
            return web.json_response(known)
        base = await self.upstream.url()
        try:
            return await self._forward(request, base.rstrip("/"), calls.passed_on)
        except aiohttp.ClientError as error:
            raise _silent() from error

    async def _look(self, url: str) -> None:
        """Ask the chain for anything at all: whatever it answers, it is there.

        :raises ApiProblem: It does not answer (502).
        """
        try:
            async with asyncio.timeout(_PATIENCE), self._session.get(url):
                return
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _silent() from error

    async def _forward(self, request: web.Request, base: str, body: bytes) -> web.Response:
        async with self._session.request(
            request.method,
            base + request.path_qs,
            data=body or None,
            headers={"Content-Type": "application/json"},
            allow_redirects=False,
        ) as answer:
            return web.Response(
                status=answer.status,
                body=await answer.read(),
                headers={"Content-Type": answer.headers.get("Content-Type", "application/json")},
            )

    def _admit(self, request: web.Request) -> None:
        auth = self._deployment.auth
        header = request.headers.get("Authorization")
        if auth.type == "basic":
            login = basic_login(header)
            if login is None or not auth.accepts_login(*login):
                raise ApiProblem(
                    401,
                    "Unauthorized",
                    "The node's user and password are required",
                    headers={"WWW-Authenticate": 'Basic realm="node"'},
                )
        elif auth.type == "jwt":
            grant = bearer_grant(self._backend, header, ANY_ACCESS)
            if grant.user_id != self._deployment.owner_id:
                raise ApiProblem(403, "Forbidden", "The token belongs to another account")

    def _state(self) -> str:
        return self._deployment.state(self._backend.clock.now(), self._backend.options.provisioning_state)


def _silent() -> ApiProblem:
    return ApiProblem(502, "ChainFailed", "The chain behind this node does not answer")
