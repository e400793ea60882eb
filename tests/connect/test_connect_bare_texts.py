"""What Connect is not known to put into an object may come as it is: hashes and bytes as bare JSON strings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import BloqUnavailable
from tests.connect.conftest import Ask, asker
from tests.hooks.conftest import Connect
from tests.support.drivers import DriverKind
from tests.support.raw_server import RawConnection, RawServer, SeenRequest, Serve

HASH = "ab" * 32
RAW = "01" * 50
#: Operations with what they are asked, the field of the answer, and its value.
LOOKUPS: list[tuple[str, dict[str, Any], str, str]] = [
    ("raw_block", {"block_hash": HASH}, "rawblock", RAW),
    ("raw_transaction", {"txid": HASH}, "rawtx", RAW),
    ("block_hash", {"height": 7}, "blockHash", HASH),
]


@pytest.fixture
def ask(kind: DriverKind) -> Ask:
    """Ask the scripted Connect by an operation, with the blocking or the async hook."""
    return asker(kind)


def saying(serve: Serve, connect: Connect, answer: Any) -> RawServer:
    """Have ``bloq_default`` lead to a Connect that says one thing."""

    def script(connection: RawConnection, request: SeenRequest) -> None:
        if request.target == "/auth/token":
            connection.reply(200, b'{"accessToken": "a-token"}')
        else:
            connection.reply(200, json.dumps(answer).encode())

    server = serve(script)
    connect(server.url, server.url, extra={"connect_url": server.url})
    return server


@pytest.mark.parametrize(("name", "asked", "field", "value"), LOOKUPS)
@pytest.mark.parametrize("bare", [True, False])
def test_a_text_is_read_bare_or_from_its_object(
    serve: Serve,
    connect: Connect,
    ask: Ask,
    name: str,
    asked: dict[str, Any],
    field: str,
    value: str,
    bare: bool,
) -> None:
    saying(serve, connect, value if bare else {field: value})
    assert ask(name, **asked) == value


@pytest.mark.parametrize(("name", "asked", "field", "value"), LOOKUPS)
@pytest.mark.parametrize("answer", ["", [RAW], 7, {}, None])
def test_what_is_neither_is_told(
    serve: Serve,
    connect: Connect,
    ask: Ask,
    name: str,
    asked: dict[str, Any],
    field: str,
    value: str,
    answer: Any,
) -> None:
    saying(serve, connect, answer)
    with pytest.raises(BloqUnavailable, match="Connect"):
        ask(name, **asked)
