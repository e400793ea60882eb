"""The calls in a body of JSON-RPC: their methods, and those that a Bitcoin node does not let through."""

from __future__ import annotations

import json
from dataclasses import dataclass

from airflow_provider_bloq.testing.local.inbound import MalformedJson, read_json
from airflow_provider_bloq.testing.local.problems import ApiProblem

__all__ = ["RpcBody", "read_rpc_body"]

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
