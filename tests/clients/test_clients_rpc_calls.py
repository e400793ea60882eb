"""What a JSON-RPC call is, and which calls may be sent again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqUnavailable
from airflow_provider_bloq.rpc.client import RpcCall
from tests.clients.both_ways import OpenClients
from tests.clients.scripted_node import NOWHERE, ScriptedNode, StartNode, echo_all
from tests.support.raw_server import RawConnection, SeenRequest, Serve


def lost_first(open_clients: OpenClients, serve: Serve) -> ScriptedNode:
    """Start a node whose first answer never comes."""

    def script(connection: RawConnection, request: SeenRequest) -> None:
        if len(server.requests) == 1:
            connection.reset()
        else:
            connection.reply(200, json.dumps(echo_all(json.loads(request.body))).encode())

    server = serve(script)
    return ScriptedNode(server, open_clients(NOWHERE))


READS = [
    "eth_blockNumber",
    "eth_call",
    "eth_chainId",
    "eth_estimateGas",
    "eth_feeHistory",
    "eth_gasPrice",
    "eth_getBalance",
    "eth_getBlockByNumber",
    "eth_getLogs",
    "eth_getTransactionReceipt",
    "eth_syncing",
    "net_version",
    "web3_clientVersion",
    "trace_block",
    "debug_traceTransaction",
    "txpool_status",
    "info.getNodeVersion",
    "getblock",
    "getblockchaininfo",
    "getrawtransaction",
    "decoderawtransaction",
    "estimatesmartfee",
]
WRITES = [
    "eth_sendRawTransaction",
    "eth_sendTransaction",
    "eth_getFilterChanges",
    "eth_newFilter",
    "eth_sign",
    "personal_sign",
    "sendrawtransaction",
    "sendtoaddress",
    "getnewaddress",
    "getrawchangeaddress",
    "generatetoaddress",
    "anvil_mine",
    "evm_mine",
    "debug_setHead",
    "submitblock",
    "eth_callMany!",
    "EVIL_eth_call",
]


@pytest.mark.parametrize("method", READS)
def test_what_only_reads_is_told_from_what_writes(method: str) -> None:
    assert RpcCall(method).only_reads


@pytest.mark.parametrize("method", WRITES)
def test_what_may_write_is_told_from_what_reads(method: str) -> None:
    assert not RpcCall(method).only_reads


def test_a_read_whose_answer_was_lost_is_sent_again(open_clients: OpenClients, serve: Serve) -> None:
    made = lost_first(open_clients, serve)
    assert made.rpc.call("eth_blockNumber") == "eth_blockNumber"
    assert len(made.seen) == 2
    assert made.bloq.pauses == [0.5]


def test_a_write_whose_answer_was_lost_is_not_sent_again(open_clients: OpenClients, serve: Serve) -> None:
    made = lost_first(open_clients, serve)
    with pytest.raises(BloqUnavailable) as lost:
        made.rpc.call("eth_sendRawTransaction", ["0x00"])
    assert lost.value.acted
    assert len(made.seen) == 1


def test_a_batch_with_one_write_is_not_sent_again(open_clients: OpenClients, serve: Serve) -> None:
    made = lost_first(open_clients, serve)
    with pytest.raises(BloqUnavailable):
        made.rpc.batch(["eth_blockNumber", ["eth_sendRawTransaction", ["0x00"]]])
    assert len(made.seen) == 1


def test_the_caller_knows_best_what_may_be_repeated(open_clients: OpenClients, serve: Serve) -> None:
    made = lost_first(open_clients, serve)
    assert made.rpc.call("my_read", idempotent=True) == "my_read"
    made = lost_first(open_clients, serve)
    with pytest.raises(BloqUnavailable):
        made.rpc.call("eth_blockNumber", idempotent=False)


@pytest.mark.parametrize(
    ("short", "call"),
    [
        ("m", RpcCall("m")),
        (["m"], RpcCall("m")),
        (["m", [1]], RpcCall("m", [1])),
        (("m", {"a": 1}), RpcCall("m", {"a": 1})),
        ({"method": "m"}, RpcCall("m")),
        ({"method": "m", "params": None}, RpcCall("m")),
        ({"method": "m", "params": [1], "id": 7, "jsonrpc": "2.0"}, RpcCall("m", [1])),
        (RpcCall("m", [1]), RpcCall("m", [1])),
    ],
)
def test_the_short_forms_of_a_call(short: Any, call: RpcCall) -> None:
    assert RpcCall.of(short) == call


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        7,
        "",
        " ",
        [],
        ["m", 1],
        ["m", [1], 2],
        {"params": []},
        {"method": 7},
        {"method": "m", "param": [1]},
        ["m", "params"],
        {"method": "m", "params": "x"},
    ],
)
def test_what_is_no_call_is_refused_before_anything_is_sent(node: StartNode, wrong: Any) -> None:
    made = node(echo_all)
    with pytest.raises(BloqConfigurationError, match="not a JSON-RPC call"):
        made.rpc.batch([wrong])
    assert made.seen == []


@pytest.mark.parametrize("calls", ["eth_chainId", {"method": "eth_chainId"}])
def test_a_batch_is_a_list(node: StartNode, calls: Any) -> None:
    made = node(echo_all)
    with pytest.raises(BloqConfigurationError, match="batch"):
        made.rpc.batch(calls)
    assert made.seen == []


@pytest.mark.parametrize("limit", [0, -1, 2.5, "50", None])
def test_a_limit_is_a_whole_number(node: StartNode, limit: Any) -> None:
    with pytest.raises(BloqConfigurationError, match="limit"):
        node(echo_all).rpc.batch(["a"], limit=limit)


@pytest.mark.parametrize("params", [[{1, 2}], [b"x"], [float("nan")], {"a": object()}])
def test_params_that_json_does_not_know_are_named(node: StartNode, params: Any) -> None:
    with pytest.raises(BloqConfigurationError, match="cannot be written as JSON"):
        node(echo_all).rpc.call("a", params)


@pytest.mark.parametrize("url", ["https://", "ftp://x/", "https://a b/", "https://user:pw@host/", "x://"])
def test_a_url_that_cannot_be_used_is_refused_without_quoting_it(open_clients: OpenClients, url: str) -> None:
    bloq = open_clients(NOWHERE)
    with pytest.raises(BloqConfigurationError, match="the URL is invalid") as error:
        bloq.rpc(url).call("a")
    assert "pw" not in str(error.value)


def test_port_path_and_pin_need_what_they_belong_to(open_clients: OpenClients) -> None:
    bloq = open_clients(NOWHERE)
    for options in ({"port": 1}, {"path": "/x"}):
        with pytest.raises(BloqConfigurationError, match="into the URL"):
            bloq.rpc("http://127.0.0.1:2/", **options).call("a")
    with pytest.raises(BloqConfigurationError, match="an http URL has no certificate"):
        bloq.rpc("http://127.0.0.1:2/", pin="0" * 64).call("a")
