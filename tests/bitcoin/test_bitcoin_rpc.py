"""The JSON-RPC of a real Bitcoin node through the hooks: the calls that are relied on, and its errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_bloq.exceptions import BloqRpcError
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.nodes.models import Node
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from tests.hooks.conftest import Connect, new_keys
from tests.local_service.service_caller import Caller, call

pytestmark = pytest.mark.bitcoind

NETWORKS = ("mainnet", "testnet")
UNKNOWN = "00" * 32


@pytest.fixture
def node(bitcoin_service: LocalBloq) -> Node:
    return BloqHook().nodes.create(bitcoin_service.service_id("btc"))


@pytest.fixture
def created(bitcoin_service: LocalBloq, node: Node) -> dict[str, Any]:
    """What the create operator returns."""
    return {**node.public(), "tls_fingerprint": bitcoin_service.node_fingerprint(node.id)}


@pytest.fixture
def rpc(created: dict[str, Any]) -> Any:
    return BloqHook().rpc(created)


def test_the_head_and_a_block_by_its_height(bitcoin: Bitcoind, rpc: Any) -> None:
    info = rpc.call("getblockchaininfo")
    assert info["blocks"] == bitcoin.height
    assert {"bestblockhash", "headers", "time", "initialblockdownload"} <= info.keys()
    found = rpc.call("getblockhash", [info["blocks"]])
    assert found == info["bestblockhash"]
    header = rpc.call("getblockheader", [found])
    assert (header["height"], header["confirmations"]) == (info["blocks"], 1)


def test_a_block_with_the_values_that_its_payments_spend(bitcoin: Bitcoind, rpc: Any) -> None:
    coin = bitcoin.coin()
    payment = pay([coin], fee=10_000)
    block = rpc.call("getblock", [bitcoin.mine_only(payment), 3])
    coinbase, paid = block["tx"]
    assert "coinbase" in coinbase["vin"][0]
    assert paid["txid"] == payment.txid
    assert round(paid["vin"][0]["prevout"]["value"] * 100_000_000) == coin.satoshi
    assert round(paid["fee"] * 100_000_000) == 10_000


def test_a_transaction_and_whether_its_coin_is_spent(bitcoin: Bitcoind, rpc: Any) -> None:
    coin = bitcoin.coin()
    payment = pay([coin], fee=10_000)
    assert rpc.call("gettxout", [coin.txid, 0])["confirmations"] >= 100
    assert rpc.call("sendrawtransaction", [payment.raw]) == payment.txid
    waiting = rpc.call("getrawtransaction", [payment.txid, True])
    assert "confirmations" not in waiting
    assert [(spent["txid"], spent["vout"]) for spent in waiting["vin"]] == [(coin.txid, 0)]
    assert rpc.call("gettxout", [coin.txid, 0, True]) is None
    assert rpc.call("gettxout", [coin.txid, 0, False]) is not None
    (block,) = bitcoin.mine()
    mined = rpc.call("getrawtransaction", [payment.txid, True])
    assert (mined["confirmations"], mined["blockhash"]) == (1, block)
    assert rpc.call("gettxout", [coin.txid, 0, False]) is None


def test_of_a_block_that_lost_its_transaction_is_told_without_confirmations(
    bitcoin: Bitcoind, rpc: Any
) -> None:
    payment = pay([bitcoin.coin()], fee=10_000)
    old = bitcoin.mine_only(payment)
    bitcoin.fork(1)
    seen = rpc.call("getrawtransaction", [payment.txid, True])
    assert seen.get("confirmations", 0) == 0
    assert rpc.call("getblockheader", [old])["confirmations"] == -1


@pytest.mark.parametrize(
    ("method", "params", "status", "code"),
    [
        ("getrawtransaction", [UNKNOWN, True], 500, -5),
        ("getblock", [UNKNOWN], 500, -5),
        ("getblockhash", [10**6], 500, -8),
        ("sendrawtransaction", ["no hex"], 500, -22),
        ("getnewaddress", [], 404, -32601),
    ],
)
def test_errors_come_with_a_status_and_are_read_all_the_same(
    bitcoin: Bitcoind,
    bitcoin_service: LocalBloq,
    rpc: Any,
    method: str,
    params: list[Any],
    status: int,
    code: int,
) -> None:
    body: dict[str, Any] = {"jsonrpc": "1.0", "id": 1, "method": method, "params": params}
    assert requests.post(bitcoin.url, json=body, timeout=30).status_code == status
    with pytest.raises(BloqRpcError) as wrong:
        rpc.call(method, params)
    assert (wrong.value.code, wrong.value.method) == (code, method)
    calls = bitcoin_service.counters().calls
    assert calls["rpc POST /"] == 1, "an answer of the node is no failure that would be tried again"


def test_a_batch_keeps_its_order_and_errors_stand_in_their_places(
    bitcoin: Bitcoind, bitcoin_service: LocalBloq, rpc: Any
) -> None:
    heights = range(1, 131)
    hashes = rpc.batch([("getblockhash", [height]) for height in heights])
    assert hashes == [bitcoin.block_hash(height) for height in heights]
    assert bitcoin_service.counters().calls["rpc POST /"] == 3
    first, unknown, last = rpc.batch(
        [("getblockhash", [1]), ("getrawtransaction", [UNKNOWN, True]), "getblockcount"], return_errors=True
    )
    assert (first, last) == (hashes[0], bitcoin.height)
    assert isinstance(unknown, BloqRpcError)
    assert unknown.code == -5


async def test_on_an_event_loop_it_is_the_same(bitcoin: Bitcoind, created: dict[str, Any]) -> None:
    async with BloqAsyncHook() as bloq:
        rpc = bloq.rpc(created)
        assert await rpc.call("getblockcount") == bitcoin.height
        with pytest.raises(BloqRpcError) as wrong:
            await rpc.call("getrawtransaction", [UNKNOWN, True])
        assert wrong.value.code == -5
        assert await rpc.batch(["getblockcount", ["getblockhash", [1]]]) == [
            bitcoin.height,
            bitcoin.block_hash(1),
        ]


def test_the_node_is_shown_to_holders_of_the_token_alone(created: dict[str, Any], rpc: Any) -> None:
    assert rpc.call("getblockcount") >= 150
    body: dict[str, Any] = {"id": 1, "method": "getblockcount"}
    # The node signs its own certificate; this is about the token alone.
    with pytest.warns(Warning, match="Unverified HTTPS"):
        answer = requests.post(f"https://{created['ip']}:8332/", json=body, verify=False, timeout=30)
    assert answer.status_code == 401


def test_a_node_with_a_password_of_its_own(bitcoin: Bitcoind, bitcoin_service: LocalBloq) -> None:
    node = BloqHook().nodes.create(bitcoin_service.service_id("btc"), "basic")
    pin = bitcoin_service.node_fingerprint(node.id)
    assert BloqHook().rpc(node.id, tls_fingerprint=pin).call("getblockcount") == bitcoin.height


def test_each_node_can_have_a_chain_of_its_own(bitcoind: list[str], connect: Connect) -> None:
    with LocalBloq(LocalBloqOptions(upstreams={"btc": Bitcoind})) as service:
        connect(service.accounts_url, service.nodes_url, new_keys(service))
        hook = BloqHook()
        one, other = (
            hook.rpc(node.id, tls_fingerprint=service.node_fingerprint(node.id))
            for node in (hook.nodes.create(service.service_id("btc", network)) for network in NETWORKS)
        )
        one.call("invalidateblock", [one.call("getblockhash", [2])])
        assert (one.call("getblockcount"), other.call("getblockcount")) == (1, 150)


def test_where_there_is_no_bitcoind_a_node_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BLOQ_BITCOIND", str(tmp_path / "missing"))
    with LocalBloq(LocalBloqOptions(upstreams={"btc": Bitcoind})) as service:
        caller = Caller.of(service)
        token = caller.access_token()
        node = caller.create_node(token, chain="btc", auth_type="jwt")
        assert node["state"] == "started"
        # The node signs its own certificate.
        with pytest.warns(Warning, match="Unverified HTTPS"):
            answer = call("POST", f"https://{node['ip']}:8332/", token, json={}, verify=False)
    assert (answer.status_code, answer.json()["code"]) == (503, "NoChain")
    assert "BLOQ_BITCOIND names" in answer.json()["detail"]
