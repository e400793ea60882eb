"""The endpoint of a node or cluster: authentication, JSON-RPC to its chain, and the management sidecar."""

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
from airflow_provider_bloq.testing.local.catalogue import SIDECAR_PORT, ServiceOffer, rpc_port
from airflow_provider_bloq.testing.local.certificates import KeyedCertificate, load_into, server_context
from airflow_provider_bloq.testing.local.fleet import LocalCluster, LocalNode
from airflow_provider_bloq.testing.local.inbound import (
    MalformedJson,
    basic_login,
    body_of,
    positive_integer,
    read_json,
)
from airflow_provider_bloq.testing.local.listener import BoundAddress, HttpListener
from airflow_provider_bloq.testing.local.pipeline import service_application
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.upstreams import NodeUpstream

__all__ = [
    "Gateway",
    "RpcBody",
    "identity",
    "read_rpc_body",
]


#: Methods that stop a Bitcoin node, disconnect it, delete its data or write files. Mining and invalidating blocks
#: is allowed, because tests need it; the node itself refuses wallet calls, except for the last one here.
_HARMFUL = frozenset({
    "stop", "addnode", "addconnection", "addpeeraddress", "disconnectnode", "setban", "clearbanned",
    "setnetworkactive", "sendmsgtopeer", "pruneblockchain", "setprunelock", "dumptxoutset", "loadtxoutset",
    "importmempool", "savemempool", "savefeeestimates", "maxmempool", "logging", "setscriptthreadsenabled",
    "sweepprivkeys",
})  # fmt: skip
#: A method that no node has, so that the node itself answers with -32601.
_UNKNOWN = "blocked"


@dataclass(frozen=True, slots=True)
class RpcBody:
    """A body of JSON-RPC.

    :param methods: The methods that it calls.
    :param passed_on: The body to send to the chain.
    """

    methods: tuple[str, ...]
    passed_on: bytes


def read_rpc_body(body: bytes, *, guarded: bool = False) -> RpcBody:
    """Parse a body. One that is not JSON is passed on, so that the chain answers.

    :param body: The body.
    :param guarded: Whether to block harmful calls, and bodies that are not JSON: a Bitcoin node accepts some
        texts and numbers that are not valid JSON.
    :raises ApiProblem: The body is blocked, or cannot be parsed safely (400).
    """
    if not body:
        return RpcBody((), body)
    try:
        parsed = read_json(body, first_wins=guarded)
    except MalformedJson as error:
        if guarded:
            raise _unreadable(error) from error
        return RpcBody((), body)
    except ValueError as error:
        raise _unreadable(error) from error
    calls = [call for call in (parsed if isinstance(parsed, list) else [parsed]) if isinstance(call, dict)]
    methods = tuple(str(call["method"]) for call in calls if "method" in call)
    if not guarded or _HARMFUL.isdisjoint(methods):
        return RpcBody(methods, body)
    for call in calls:
        if str(call.get("method")) in _HARMFUL:
            call["method"] = _UNKNOWN
    return RpcBody(methods, json.dumps(parsed).encode())


def _unreadable(error: ValueError) -> ApiProblem:
    return ApiProblem(400, "InvalidBody", f"The body is not JSON that can be read: {error}")


_AVALANCHE_METHOD = "info.getNodeVersion"


def identity(offer: ServiceOffer, method: str, path: str, body: bytes) -> dict[str, Any] | None:
    """Return the answer to a request for the version of the software; None for any other request.

    :param offer: The service of the cluster, which names the software.
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


#: Chains whose nodes block harmful calls.
_GUARDED = frozenset({"btc", "bch", "ltc"})
#: Seconds that a chain may take to answer a health check.
_HEALTH_TIMEOUT = 5.0


class Gateway:
    """Serves one deployment's RPC port and, on 8080, its management sidecar.

    :param deployment: The node or cluster.
    :param place: Its bound sockets; the gateway owns them.
    :param certificate: Its certificate.
    :param upstream: Its chain.
    :param session: For requests to the chain.
    """

    def __init__(
        self,
        backend: Backend,
        deployment: LocalNode | LocalCluster,
        place: BoundAddress,
        certificate: KeyedCertificate,
        upstream: NodeUpstream,
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
            HttpListener(
                service_application(backend, "rpc", self._routes(asked, port), listener=deployment.id),
                [bound],
                self._context,
            )
            for asked, bound in place.sockets.items()
        ]

    async def open(self) -> None:
        """Start to serve."""
        for listener in self._listeners:
            await listener.open()

    async def close(self) -> None:
        """Release the address and stop the chain."""
        for listener in self._listeners:
            await listener.close()
        await self.upstream.stop()

    def show(self, certificate: KeyedCertificate) -> None:
        """Use another certificate from now on, and close all open connections."""
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
        self._authorize(request)
        if self._state() != "started":
            return web.json_response(self._state())
        await self._check_chain(await self.upstream.url())
        return web.json_response("healthy")

    async def _logs(self, request: web.Request) -> web.Response:
        self._authorize(request)
        lines = list(self._deployment.log)
        wanted = request.headers.get("lines")
        return web.json_response(lines if wanted is None else lines[-positive_integer(wanted, "lines") :])

    async def _proxy(self, request: web.Request) -> web.Response:
        self._authorize(request)
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
            raise _no_answer() from error

    async def _check_chain(self, url: str) -> None:
        """Check that the chain answers, whatever the answer is.

        :raises ApiProblem: It does not answer (502).
        """
        try:
            async with asyncio.timeout(_HEALTH_TIMEOUT), self._session.get(url):
                return
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _no_answer() from error

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

    def _authorize(self, request: web.Request) -> None:
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


def _no_answer() -> ApiProblem:
    return ApiProblem(502, "ChainFailed", "The chain behind this node does not answer")
