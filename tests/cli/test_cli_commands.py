"""``nodes list``, ``token`` and ``rpc``: what they show, and how they end."""

from __future__ import annotations

import json

import pytest

from airflow_provider_bloq.cli.actions import params_of
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.stack import LocalStack
from tests.cli.conftest import Call, Connect


def test_nodes_are_listed_in_columns_and_as_json(call: Call, node: str) -> None:
    lines = call("nodes", "list").out.splitlines()
    assert lines[0].split() == ["ID", "CHAIN", "NETWORK", "STATE", "ADDRESS", "CREATED"]
    assert [line.split()[:4] for line in lines[1:]] == [[node, "eth", "mainnet", "started"]]
    (listed,) = call("nodes", "list", "--json").json
    assert listed["id"] == node
    assert listed["auth"] == {"type": listed["auth"]["type"]}, "no user, no password"


def test_deleted_nodes_are_listed_only_if_they_are_asked_for(
    call: Call, node: str, stack: LocalStack
) -> None:
    hook = BloqHook()
    gone = hook.nodes.create(stack.bloq.service_id("btc")).id
    hook.nodes.delete(gone)
    assert gone not in call("nodes", "list").out
    assert gone in call("nodes", "list", "--all").out


def test_a_token_is_shown_by_its_claims_alone(call: Call) -> None:
    told = call("token", "--json")
    assert told.code == 0
    assert told.json["claims"]["exp"] - told.json["claims"]["iat"] == 3600
    assert 0 < told.json["expires_in"] <= 3600
    plain = call("token").out
    assert "lives " in plain
    assert "UTC)" in plain
    token = BloqHook().get_access_token()
    for part in token.split("."):
        assert part not in told.out + plain


def test_a_call_gives_the_result_as_json(call: Call, node: str) -> None:
    told = call("rpc", node, "eth_getBlockByNumber", "latest", "false")
    assert told.code == 0
    assert told.json["transactions"] == []
    assert call("rpc", node, "eth_getBlockByNumber", '["latest", false]').json == told.json
    assert call("rpc", node, "eth_chainId").json.startswith("0x")


def test_a_call_of_a_node_that_is_not_pinned_takes_a_fingerprint(
    call: Call, connect: Connect, node: str, stack: LocalStack
) -> None:
    connect({"node_fingerprints": {}})
    refused = call("rpc", node, "eth_chainId")
    assert (refused.code, refused.out) == (1, "")
    assert "not pinned" in refused.err
    fingerprint = stack.bloq.node_fingerprint(node)
    assert call("rpc", node, "eth_chainId", "--tls-fingerprint", fingerprint).code == 0


def test_an_error_goes_to_standard_error(call: Call, node: str) -> None:
    told = call("rpc", node, "eth_no_such_method")
    assert (told.code, told.out) == (1, "")
    assert "Method not found" in told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize("command", [("token",), ("nodes", "list"), ("rpc", "node-1", "eth_chainId")])
def test_wrong_settings_are_told_by_every_command(
    call: Call, connect: Connect, command: tuple[str, ...]
) -> None:
    connect({"timeout": 0})
    told = call(*command)
    assert (told.code, told.out) == (1, "")
    assert "timeout" in told.err


@pytest.mark.parametrize("arguments", [(), ("nodes",), ("rpc", "node-1"), ("cure",)])
def test_what_cannot_be_understood_ends_with_two(
    call: Call, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(*arguments)
    assert ended.value.code == 2
    assert "usage: airflow-bloq" in capsys.readouterr().err


def test_a_table_on_a_terminal(call: Call, node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    shown = call("nodes", "list").out
    assert "\x1b[" in shown
    assert "━" in shown
    assert node in shown
    assert json.loads(call("nodes", "list", "--json").out), "JSON is never coloured"


@pytest.mark.parametrize(
    ("words", "params"),
    [
        ([], []),
        (["latest", "false"], ["latest", False]),
        (['["latest", false]'], ["latest", False]),
        (['{"height": 1}'], {"height": 1}),
        (['{"to": "0x1"}', "latest"], [{"to": "0x1"}, "latest"]),
        (["0x10", "12", "null"], ["0x10", 12, None]),
    ],
)
def test_parameters_are_json_or_text(words: list[str], params: object) -> None:
    assert params_of(words) == params
