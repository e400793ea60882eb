"""``nodes list``, ``token`` and ``rpc``: output and exit codes."""

from __future__ import annotations

import json
import os
import signal

import pytest

from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.stack import LocalStack
from tests.cli.conftest import Call, Connect
from tests.support.raw_server import RawConnection, RawServer, SeenRequest


def test_nodes_are_listed_in_columns_and_as_json(call: Call, node: str) -> None:
    lines = call("nodes", "list").out.splitlines()
    assert lines[0].split() == ["ID", "CHAIN", "NETWORK", "STATE", "ADDRESS", "CREATED"]
    assert [line.split()[:4] for line in lines[1:]] == [[node, "eth", "mainnet", "started"]]
    (listed,) = call("nodes", "list", "--json").json
    assert listed["id"] == node
    assert listed["auth"] == {"type": listed["auth"]["type"]}, "no user, no password"


def test_deleted_nodes_are_listed_with_all_only(call: Call, node: str, stack: LocalStack) -> None:
    hook = BloqHook()
    gone = hook.nodes.create(stack.bloq.service_id("btc")).id
    hook.nodes.delete(gone)
    assert gone not in call("nodes", "list").out
    assert gone in call("nodes", "list", "--all").out


def test_token_shows_the_claims_but_not_the_token(call: Call) -> None:
    output = call("token", "--json")
    assert output.code == 0
    assert output.json["claims"]["exp"] - output.json["claims"]["iat"] == 3600
    assert 0 < output.json["expires_in"] <= 3600
    plain = call("token").out
    assert "expires in " in plain
    assert "UTC)" in plain
    token = BloqHook().get_access_token()
    for part in token.split("."):
        assert part not in output.out + plain


def test_rpc_writes_the_result_as_json(call: Call, node: str) -> None:
    output = call("rpc", node, "eth_getBlockByNumber", "latest", "false")
    assert output.code == 0
    assert output.json["transactions"] == []
    assert call("rpc", node, "eth_getBlockByNumber", '["latest", false]').json == output.json
    assert call("rpc", node, "eth_chainId").json.startswith("0x")
    zero = "0x" + "0" * 40
    assert call("rpc", node, "eth_getBalance", zero, "latest").json == "0x0"
    assert call("rpc", node, "eth_call", json.dumps({"to": zero}), "latest").json == "0x"


def test_rpc_takes_the_fingerprint_of_a_node_that_is_not_pinned(
    call: Call, connect: Connect, node: str, stack: LocalStack
) -> None:
    connect({"node_fingerprints": {}})
    refused = call("rpc", node, "eth_chainId")
    assert (refused.code, refused.out) == (1, "")
    assert "not pinned" in refused.err
    fingerprint = stack.bloq.node_fingerprint(node)
    assert call("rpc", node, "eth_chainId", "--tls-fingerprint", fingerprint).code == 0


def test_an_error_is_written_to_standard_error(call: Call, node: str) -> None:
    output = call("rpc", node, "eth_no_such_method")
    assert (output.code, output.out) == (1, "")
    assert "Method not found" in output.err
    assert "Traceback" not in output.err


def test_every_command_reports_wrong_settings(call: Call, connect: Connect) -> None:
    connect({"timeout": 0})
    for command in (("token",), ("nodes", "list"), ("rpc", "node-1", "eth_chainId")):
        output = call(*command)
        assert (output.code, output.out) == (1, "")
        assert "timeout" in output.err


@pytest.mark.parametrize("arguments", [(), ("nodes",), ("rpc", "node-1"), ("cure",)])
def test_a_wrong_command_line_ends_with_2(call: Call, arguments: tuple[str, ...]) -> None:
    output = call(*arguments)
    assert output.code == 2
    assert "usage: airflow-bloq" in output.err


def test_a_table_on_a_terminal(call: Call, node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    shown = call("nodes", "list").out
    assert "\x1b[" in shown
    assert "━" in shown
    assert node in shown
    assert json.loads(call("nodes", "list", "--json").out), "JSON is never coloured"


def test_an_interrupted_command_ends_with_130(call: Call, connect: Connect) -> None:
    def interrupt(connection: RawConnection, _: SeenRequest) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        connection.stall()

    # A shell starts what runs in its background with this signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with RawServer(interrupt) as server:
            connect({"nodes_url": server.url})
            output = call("nodes", "list")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (output.code, output.out) == (130, "")
