"""What stands behind nodes and clusters: what of it they let through, and what they answer where nothing does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_bloq.testing.bitcoind import Bitcoind
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from tests.local_service.connect_caller import ConnectCaller
from tests.local_service.service_caller import Caller, call
from tests.support.shared_chain import SharedChain

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")

Start = Callable[..., LocalBloq]

HARMFUL = (
    "stop", "setnetworkactive", "addnode", "disconnectnode", "setban", "clearbanned", "pruneblockchain",
    "dumptxoutset", "loadtxoutset", "savemempool", "logging",
)  # fmt: skip
NOT_FOUND = {"code": -32601, "message": "Method not found"}


class DeadChain:
    """Starts, and does not answer."""

    url = "http://127.0.0.1:9"

    def start(self) -> None:
        """It has nothing to start."""

    def stop(self) -> None:
        """Nothing runs."""


def order(caller: Caller, chain: str, network: str = "mainnet") -> dict[str, Any]:
    """Create a node, or a cluster of the chains that have no nodes."""
    kind: Any = "cluster" if chain in ("avalanche", "algorand", "polygon") else "nodes"
    things = "clusters" if kind == "cluster" else "nodes"
    body = {"serviceId": caller.bloq.service_id(chain, network, kind), "authType": "basic", "capacity": 2}
    answer = caller.nodes("POST", f"/users/me/{things}", caller.access_token(), json=body)
    assert answer.status_code == 201
    return dict(answer.json())


def ask(
    machine: dict[str, Any], port: int, path: str = "/", method: str = "POST", **more: Any
) -> requests.Response:
    address = machine.get("ip") or machine["domain"]
    login = (machine["auth"]["user"], machine["auth"]["pass"])
    return call(method, f"https://{address}:{port}{path}", auth=login, verify=False, **more)


def health(machine: dict[str, Any]) -> tuple[int, Any]:
    answer = ask(machine, 8080, "/status", "GET")
    told = answer.json()
    return answer.status_code, told if isinstance(told, str) else told["code"]


@pytest.fixture
def bitcoin(start: Start, regtest: Bitcoind) -> Caller:
    """An account of a service whose Bitcoin and Litecoin nodes have the shared chain behind them."""
    return Caller.of(start(upstreams=dict.fromkeys(("btc", "ltc"), lambda: SharedChain(regtest))))


@pytest.mark.bitcoind
@pytest.mark.parametrize("method", HARMFUL)
def test_a_bitcoin_node_does_not_know_what_would_harm_it(
    bitcoin: Caller, regtest: Bitcoind, method: str
) -> None:
    refused = ask(order(bitcoin, "btc"), 8332, json={"id": 7, "method": method})
    assert (refused.status_code, refused.json()) == (404, {"result": None, "error": NOT_FOUND, "id": 7})
    wallet = ask(order(bitcoin, "btc"), 8332, json={"id": 7, "method": "getnewaddress"})
    assert (wallet.status_code, wallet.json()) == (refused.status_code, refused.json())
    assert regtest.rpc("getnetworkinfo")["networkactive"] is True


@pytest.mark.bitcoind
def test_harmful_calls_are_blocked_for_litecoin_and_in_batches(bitcoin: Caller, regtest: Bitcoind) -> None:
    for chain, port in (("btc", 8332), ("ltc", 9332)):
        calls = [
            {"id": 1, "method": "stop"},
            {"id": 2, "method": "getblockcount"},
            {"id": 3, "method": "deriveaddresses", "params": ["raw(51)#8lvh9jxk", 0.5]},
            {"jsonrpc": "2.0", "id": 4, "method": "stop"},
        ]
        told = ask(order(bitcoin, chain), port, json=calls).json()
        assert [one["id"] for one in told] == [1, 2, 3, 4]
        assert [told[0]["error"], told[3]["error"]] == [NOT_FOUND, NOT_FOUND]
        assert told[1]["result"] == regtest.height
        assert told[2]["error"]["code"] != -32601


@pytest.mark.bitcoind
def test_a_bitcoin_node_is_not_tricked_into_it(bitcoin: Caller, regtest: Bitcoind) -> None:
    for body in (
        b'{"id": 1, "method": "stop", "method": "getblockcount"}',
        b'{"id": 1, "method": "\\u0073top"}',
        b'{"id": 1, "method": "\xc1\xb3top"}',
        b'{"method": "stop", "id": ' + b"1" * 5_000 + b"}",
        b'{"method": "stop", "params": ' + b"[" * 505 + b"]" * 505 + b"}",
    ):
        answer = ask(order(bitcoin, "btc"), 8332, data=body)
        assert answer.status_code in (400, 404)
        assert "result" not in answer.json() or answer.json()["error"] == NOT_FOUND
        assert regtest.height >= 0


@pytest.mark.bitcoind
def test_a_bitcoin_node_mines_and_unmakes_blocks_and_has_its_rest_api(
    bitcoin: Caller, regtest: Bitcoind
) -> None:
    node = order(bitcoin, "btc")

    def rpc(method: str, *params: Any) -> Any:
        answer = ask(node, 8332, json={"id": 1, "method": method, "params": params})
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    before = regtest.height
    (block,) = rpc("generatetodescriptor", 1, "raw(51)#8lvh9jxk")
    assert regtest.height == before + 1
    rpc("invalidateblock", block)
    assert regtest.height == before
    rpc("reconsiderblock", block)
    assert ask(node, 8332, "/rest/chaininfo.json", "GET").json()["bestblockhash"] == block


@pytest.mark.bitcoind
def test_bitcoin_nodes_have_the_chain_that_connect_shows_unless_another_is_chosen(regtest: Bitcoind) -> None:
    connect_upstreams = {"btc": lambda: SharedChain(regtest), "bch": lambda: SharedChain(regtest)}
    with LocalBloq(LocalBloqOptions(connect_upstreams=connect_upstreams)) as bloq:
        caller = Caller.of(bloq)
        nodes = [order(caller, chain) for chain in ("btc", "bch")]
        assert [node["state"] for node in nodes] == ["started"] * 2
        (block,) = ask(
            nodes[0],
            8332,
            json={"id": 1, "method": "generatetodescriptor", "params": [1, "raw(51)#8lvh9jxk"]},
        ).json()["result"]
        assert ConnectCaller.of(bloq).get("/status", q="getBestBlockHash") == {"bestblockhash": block}
        best = ask(nodes[1], 8332, json={"id": 1, "method": "getbestblockhash"}).json()
        assert best["result"] == block
        for node in nodes:
            assert caller.nodes("DELETE", f"/users/me/nodes/{node['id']}", caller.access_token()).ok
        assert ConnectCaller.of(bloq).get("/status", q="getBestBlockHash") == {"bestblockhash": block}


@pytest.mark.bitcoind
def test_such_a_node_starts_its_chain_when_it_is_asked_and_another_network_is_another_chain(
    shared_regtest: Bitcoind,
) -> None:
    started: list[str] = []

    class Chain(SharedChain):
        def start(self) -> None:
            started.append("start")

        def stop(self) -> None:
            started.append("stop")

    with LocalBloq(LocalBloqOptions(connect_upstreams={"btc": lambda: Chain(shared_regtest)})) as bloq:
        caller = Caller.of(bloq)
        one, same, other = (order(caller, "btc", network) for network in ("mainnet", "mainnet", "testnet"))
        assert started == []
        for node, port in ((one, 8332), (same, 8332), (other, 18332)):
            assert ask(node, port, json={"id": 1, "method": "uptime"}).ok
        assert started == ["start", "start"]
        path = f"/users/me/nodes/{other['id']}"
        assert caller.nodes("DELETE", path, caller.access_token()).ok
        assert started == ["start", "start", "stop"]
    assert started == ["start", "start", "stop", "stop"]


def test_a_bitcoin_node_has_no_chain_where_connect_has_none_or_nodes_are_to_have_none(start: Start) -> None:
    for options in ({"upstreams": None, "connect_upstreams": {}}, {"upstreams": {}}):
        node = order(Caller.of(start(**options)), "btc")
        answer = ask(node, 8332, json={"id": 1, "method": "uptime"})
        assert (answer.status_code, answer.json()["code"]) == (503, "NoChain")
        assert "btc" in answer.json()["detail"]
        assert health(node) == (503, "NoChain")


def test_without_a_bitcoind_the_first_call_of_a_node_is_an_error(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BLOQ_BITCOIND", str(tmp_path / "missing"))
    node = order(Caller.of(start(upstreams=None)), "btc")
    answer = ask(node, 8332, json={"id": 1, "method": "uptime"})
    assert (answer.status_code, answer.json()["code"]) == (503, "NoChain")
    assert "BLOQ_BITCOIND names" in answer.json()["detail"]


def test_an_avalanche_cluster_tells_its_version_and_nothing_else(caller: Caller) -> None:
    cluster = order(caller, "avalanche")
    question = {"jsonrpc": "2.0", "id": 5, "method": "info.getNodeVersion", "params": {}}
    answer = ask(cluster, 9650, "/ext/info", json=question)
    assert (answer.status_code, answer.json()) == (
        200, {"jsonrpc": "2.0", "result": {"version": "avalanche/1.10.0"}, "id": 5},
    )  # fmt: skip
    other = {**question, "method": "info.getNodeID"}
    asked = [
        ask(cluster, 9650, "/ext/info", json=other),
        ask(cluster, 9650, "/ext/info", json=[question]),
        ask(cluster, 9650, "/ext/bc/C/rpc", json=question),
        ask(cluster, 9650, "/ext/info", "GET"),
    ]
    assert {(one.status_code, one.json()["code"]) for one in asked} == {(503, "NoChain")}
    assert health(cluster) == (503, "NoChain")
    assert (
        call("POST", f"https://{cluster['domain']}:9650/ext/info", json=question, verify=False).status_code
        == 401
    )


def test_an_algorand_cluster_tells_its_version_and_nothing_else(caller: Caller) -> None:
    cluster = order(caller, "algorand")
    answer = ask(cluster, 8080, "/versions", "GET")
    assert (answer.status_code, answer.json()) == (
        200,
        {"build": {"major": 3, "minor": 16, "build_number": 0}},
    )
    for path, method in (("/versions", "POST"), ("/v2/status", "GET"), ("/", "GET")):
        refused = ask(cluster, 8080, path, method)
        assert (refused.status_code, refused.json()["code"]) == (503, "NoChain")
    assert call("GET", f"https://{cluster['domain']}:8080/versions", verify=False).status_code == 401


def test_the_chain_reports_its_version_if_there_is_one(start: Start) -> None:
    cluster = order(Caller.of(start(upstreams={"algorand": DeadChain})), "algorand")
    assert ask(cluster, 8080, "/versions", "GET").status_code == 502


def test_a_cluster_without_a_chain_reports_its_version_once_started(start: Start) -> None:
    caller = Caller.of(start(provision_seconds=60))
    cluster = order(caller, "algorand")
    assert ask(cluster, 8080, "/versions", "GET").status_code == 503
    assert health(cluster) == (200, "starting")
    caller.bloq.finish_provisioning()
    assert ask(cluster, 8080, "/versions", "GET").status_code == 200


def test_a_node_whose_chain_does_not_answer_is_not_healthy(start: Start) -> None:
    node = order(Caller.of(start(upstreams={"eth": DeadChain})), "eth")
    assert ask(node, 8545, json={"id": 1, "method": "eth_chainId"}).status_code == 502
    assert health(node) == (502, "ChainFailed")


@pytest.mark.bitcoind
def test_a_node_whose_chain_answers_is_healthy(bitcoin: Caller) -> None:
    assert health(order(bitcoin, "btc")) == (200, "healthy")


def test_a_body_that_is_not_json_reaches_a_chain_but_not_a_bitcoin_node(start: Start) -> None:
    caller = Caller.of(start(upstreams=dict.fromkeys(("eth", "btc"), DeadChain)))
    assert ask(order(caller, "eth"), 8545, data=b"no json").status_code == 502
    refused = ask(order(caller, "btc"), 8332, data=b"no json")
    assert (refused.status_code, refused.json()["code"]) == (400, "InvalidBody")
    assert json.loads(ask(order(caller, "btc"), 8332, data=b"").text)["code"] == "ChainFailed"
