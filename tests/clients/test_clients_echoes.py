"""Servers that quote the request in their errors: what was secret in it stands in no error of ours."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.exceptions import BloqApiError, BloqError, BloqRpcError, BloqUnavailable
from airflow_provider_bloq.rpc.certificates import NodeTlsMode
from airflow_provider_bloq.rpc.endpoint import ConnectEndpointResolver
from airflow_provider_bloq.testing.local.certificates import self_signed, server_context
from tests.clients.both_ways import OpenClients
from tests.support.raw_server import RawConnection, SeenRequest, Serve

TOKEN = "an-access-token-of-its-own"
PATH_KEY = "three word/key"


@dataclass
class PathKeys:
    """A path key that does not change."""

    key: str = PATH_KEY

    def load(self, chain: str) -> Secret:
        return Secret(self.key)


def echoing(body: Any, status: int = 400, **headers: str) -> Any:
    """Script a Bloq that hands out one token and answers all else by a function of the request."""

    def script(connection: RawConnection, request: SeenRequest) -> None:
        if request.target == "/auth/token":
            connection.reply(200, json.dumps({"accessToken": TOKEN}).encode())
            return
        told = body(request)
        connection.reply(status, told if isinstance(told, bytes) else json.dumps(told).encode(), **headers)

    return script


def everything_in(error: BloqError) -> str:
    return " ".join(
        [str(error), repr(error), repr(vars(error)), str(error.summary()), repr(error.__reduce__())]
    )


@pytest.mark.parametrize("field", ["code", "title", "detail", "message"])
def test_an_echoed_token_is_hidden_wherever_the_body_has_it(
    serve: Serve, open_clients: OpenClients, field: str
) -> None:
    server = serve(echoing(lambda seen: {field: f"cannot read {seen.authorization} " + "x" * 300}))
    with pytest.raises(BloqApiError) as error:
        open_clients(server.url).nodes.list()
    assert server.requests[-1].authorization == f"Bearer {TOKEN}"
    assert TOKEN not in everything_in(error.value)
    assert "cannot read Bearer ***" in str(error.value)


def test_a_secret_is_hidden_before_a_long_text_is_cut(serve: Serve, open_clients: OpenClients) -> None:
    # Cut in its middle it would not be found any more.
    server = serve(echoing(lambda seen: {"detail": "x" * 290 + (seen.authorization or "")}))
    with pytest.raises(BloqApiError) as error:
        open_clients(server.url).nodes.list()
    assert "an-" not in everything_in(error.value)


def test_an_echo_in_a_header_that_is_quoted_is_hidden(serve: Serve, open_clients: OpenClients) -> None:
    for status, kind in ((400, BloqApiError), (200, BloqUnavailable)):
        server = serve(
            echoing(lambda _: b"<", status, X_Request_Id=f"r-{TOKEN}", Content_Type=f"text/{TOKEN}")
        )
        with pytest.raises(kind) as error:
            open_clients(server.url).nodes.list()
        assert TOKEN not in everything_in(error.value)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (404, lambda seen: {"message": f"Cannot POST {seen.target}"}),
        (404, lambda _: {"message": f"no such key: {PATH_KEY}"}),
        (404, lambda seen: {"id": None, "error": {"code": -32000, "message": f"Cannot POST {seen.target}"}}),
        (200, lambda seen: {"id": json.loads(seen.body)["id"], "error": {"code": 1, "message": PATH_KEY}}),
        (200, lambda seen: {"id": json.loads(seen.body)["id"], "error": {"data": [{PATH_KEY: seen.target}]}}),
        (200, lambda seen: {"id": json.loads(seen.body)["id"], "error": f"Cannot POST {seen.target}"}),
        (413, lambda seen: {"message": f"too large for {seen.target}"}),
        (429, lambda seen: {"message": f"too often at {seen.target}"}),
    ],
    ids=["path", "raw", "rpc without id", "rpc", "rpc data", "rpc text", "413", "429"],
)
def test_an_echoed_path_key_is_hidden(
    serve: Serve, open_clients: OpenClients, status: int, answer: Any
) -> None:
    server = serve(echoing(answer, status, Retry_After="9999"))
    resolver: Any = ConnectEndpointResolver(f"{server.url}/v1/", "eth", PathKeys())
    rpc = open_clients(server.url).make_rpc(resolver)
    with pytest.raises((BloqApiError, BloqRpcError)) as error:
        rpc.call("eth_blockNumber")
    assert quote(PATH_KEY, safe="") in server.requests[-1].target
    shown = everything_in(error.value) + str(pickle.loads(pickle.dumps(error.value)))
    assert PATH_KEY not in shown
    assert quote(PATH_KEY, safe="") not in shown
    assert "***" in shown


def test_an_echoed_password_of_a_node_is_hidden(serve: Serve, open_clients: OpenClients) -> None:
    auth = {"type": "basic", "user": "the-node-user", "pass": "the-node-password"}
    node = {"id": "node-1", "chain": "eth", "network": "mainnet", "state": "started", "auth": auth}

    def refusing(connection: RawConnection, request: SeenRequest) -> None:
        told = f"bad: {request.authorization}, that is the-node-user:the-node-password"
        connection.reply(400, json.dumps({"message": told}).encode())

    gate = serve(refusing, server_context(self_signed("127.0.0.1")))
    server = serve(echoing(lambda _: {**node, "ip": f"127.0.0.1:{gate.port}"}, 200))
    rpc = open_clients(server.url).rpc("node-1", tls=NodeTlsMode.INSECURE)
    with pytest.raises(BloqApiError, match="bad: Basic") as error:
        rpc.call("eth_chainId")
    shown = everything_in(error.value)
    assert "the-node-password" not in shown
    assert (gate.requests[-1].authorization or "").removeprefix("Basic ") not in shown
