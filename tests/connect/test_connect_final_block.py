"""The last final block through Connect, where it does not know its newest block at once."""

from __future__ import annotations

import json

from airflow_provider_bloq.chains.blocks import Finality
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.polling.watcher import FinalConnectBlock
from tests.hooks.conftest import Connect
from tests.support.raw_server import RawConnection, SeenRequest, Serve

NEWEST = "ab" * 32


def test_that_there_is_none_yet_is_not_kept_and_what_there_is_is(connect: Connect, serve: Serve) -> None:
    block = {"hash": NEWEST, "height": 7, "time": 1_600_000_000, "confirmations": 1, "tx": ["cd" * 32]}
    answers = iter([(404, b"Not found"), (200, json.dumps(block).encode())])

    def script(connection: RawConnection, request: SeenRequest) -> None:
        if request.target == "/auth/token":
            connection.reply(200, b'{"accessToken": "a-token"}')
        elif "/status" in request.target:
            connection.reply(200, json.dumps({"syncTipHash": NEWEST, "lastblockhash": NEWEST}).encode())
        else:
            connection.reply(*next(answers))

    server = serve(script)
    connect(server.url, server.url, extra={"connect_url": server.url})
    client = BloqHook().connect("btc")
    look = FinalConnectBlock("btc", None, Finality.of(1), stream=False).poll_function(client)
    seen = [client.run(look(frozenset())).final for _ in range(3)]
    assert seen[0] is None
    assert [header.height for header in seen[1:] if header is not None] == [7, 7]
    assert len([request for request in server.requests if "/block/" in request.target]) == 2
