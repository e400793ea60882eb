"""A scripted JSON-RPC node, and a client for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.clients.both_ways import BothWays
from tests.support.raw_server import RawConnection, RawServer, Script, SeenRequest

__all__ = ["NOWHERE", "Answer", "ScriptedNode", "StartNode", "answering_by", "echo", "echo_all"]

#: From the parsed body of a request to the answer: bytes as they are, all else as JSON.
Answer = Callable[[Any], Any]
#: The fixture that starts a node: of its answer and the status.
StartNode = Callable[..., "ScriptedNode"]

#: Of the services nothing is wanted here: what is called by its URL needs no token.
NOWHERE = "http://127.0.0.1:1"


class ScriptedNode:
    """A scripted node and a client for it."""

    def __init__(self, server: RawServer, bloq: BothWays) -> None:
        self.server = server
        self.bloq = bloq
        self.rpc = bloq.rpc(server.url)

    @property
    def seen(self) -> list[Any]:
        """The bodies that arrived."""
        return [json.loads(request.body) for request in self.server.requests]


def answering_by(answer: Answer, status: int = 200) -> Script:
    """Script a node that answers by a function."""

    def script(connection: RawConnection, request: SeenRequest) -> None:
        answered = answer(json.loads(request.body))
        connection.reply(status, answered if isinstance(answered, bytes) else json.dumps(answered).encode())

    return script


def echo(call: Any) -> dict[str, Any]:
    """Answer a call with its method."""
    return {"jsonrpc": "2.0", "id": call["id"], "result": call["method"]}


def echo_all(body: Any) -> Any:
    return [echo(call) for call in body] if isinstance(body, list) else echo(body)
