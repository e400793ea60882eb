"""``connect:<chain>`` in the place of a node: operators, sensors and watchers on Connect's JSON-RPC."""

from __future__ import annotations

import asyncio
import pickle
from contextlib import aclosing
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_bloq.assets.bloq import addresses, blocks, logs
from airflow_provider_bloq.chains.conditions import RpcSubject
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.operators._lineage import DatasetName, node_dataset
from airflow_provider_bloq.operators.jsonrpc import BloqFanOutOperator, BloqJsonRpcOperator
from airflow_provider_bloq.sensors.chains import BloqBlockSensor
from airflow_provider_bloq.testing.local import LocalBloq
from airflow_provider_bloq.triggers.chain_events import BloqBlockTrigger
from tests.clients.scripted_node import NOWHERE
from tests.connect.conftest import connected
from tests.hooks.conftest import Connect
from tests.support.drivers import DriverKind

ADDRESS = "0x" + "ab" * 20


@pytest.fixture
def path_key(running_evm: LocalBloq, connect: Connect) -> str:
    """The key for the chain, which ``bloq_default`` has."""
    key = running_evm.create_connect_key("eth")
    connected(connect, running_evm, connect_api_keys={"eth": key})
    return key


@pytest.mark.anvil
def test_operators_call_it(path_key: str, context: dict[str, Any]) -> None:
    call = BloqJsonRpcOperator(task_id="call", node=" connect:ETH", batch=["eth_chainId", "net_version"])
    many = BloqFanOutOperator(
        task_id="many",
        node="connect:eth",
        method="eth_getBalance",
        params_list=[[ADDRESS, "latest"]] * 3,
        batch_size=2,
    )
    assert call.execute(context) == ["0x7a69", "31337"]
    assert many.execute(context) == ["0x0"] * 3


@pytest.mark.anvil
def test_a_sensor_waits_for_it_and_what_is_stored_meanwhile_has_no_key(
    path_key: str, context: dict[str, Any]
) -> None:
    head = int(BloqHook().connect_rpc("eth").call("eth_blockNumber"), 16)
    sensor = BloqBlockSensor(
        task_id="wait", node="connect:eth", height=head + 1, deferrable=True, poke_interval=0.1
    )
    with pytest.raises(TaskDeferred) as deferral:
        sensor.execute(context)
    stored = deferral.value.trigger.serialize()
    assert "connect:eth" in repr(stored)
    assert path_key.encode() not in pickle.dumps(stored)
    BloqHook().connect_rpc("eth").call("evm_mine")

    async def told() -> list[Any]:
        return [event.payload async for event in deferral.value.trigger.run()]

    (event,) = asyncio.run(told())
    assert sensor.execute_complete(context, event)["height"] == head + 1


@pytest.mark.anvil
async def test_a_watcher_tells_its_blocks(path_key: str) -> None:
    async with BloqAsyncHook() as hook:
        rpc = hook.connect_rpc("eth")
        await rpc.call("evm_mine")
        newest = await rpc.call("eth_getBlockByNumber", ["latest", False])
    height = int(newest["number"], 16)
    trigger = BloqBlockTrigger(node="connect:eth", confirmations=1, start=height, poll_interval=0.1)
    async with aclosing(trigger.run()) as events:
        event = await anext(events)
    assert (event.payload["first"], event.payload["last_hash"]) == (height, newest["hash"])


@pytest.mark.parametrize(
    "beside",
    [{"port": 8545}, {"path": "/rpc"}, {"tls_fingerprint": "ab" * 32}],
    ids=lambda beside: next(iter(beside)),
)
def test_what_only_nodes_have_is_refused_beside_it(connect: Connect, kind: DriverKind, beside: Any) -> None:
    connect(NOWHERE, NOWHERE, extra={"connect_api_keys": {"eth": "amber-acorn-arrow"}})

    async def awaited() -> None:
        async with BloqAsyncHook() as hook:
            hook.rpc("connect:eth", **beside)

    with pytest.raises(BloqConfigurationError) as refused:
        BloqHook().rpc("connect:eth", **beside) if kind == "blocking" else asyncio.run(awaited())
    assert refused.value.fields == tuple(beside)
    with pytest.raises(BloqConfigurationError) as named:
        RpcSubject.of("connect:eth", **beside)
    assert named.value.fields == tuple(beside)


@pytest.mark.parametrize(
    ("node", "told"), [("connect:doge", "eth, etc"), ("connect:btc", "REST"), ("connect:", "eth")]
)
def test_a_chain_that_it_has_not_is_refused(connect: Connect, node: str, told: str) -> None:
    connect(NOWHERE, NOWHERE)
    with pytest.raises(BloqConfigurationError, match=told) as refused:
        BloqHook().rpc(node)
    assert refused.value.fields == ("chain",)


def test_there_is_no_session_with_the_key(connect: Connect) -> None:
    connect(NOWHERE, NOWHERE, extra={"connect_api_keys": {"eth": "amber-acorn-arrow"}})
    rpc = BloqHook().rpc("connect:eth")
    assert rpc.url.endswith("/v1/***")
    with pytest.raises(BloqConfigurationError, match="call and batch") as refused:
        rpc.get_conn()
    assert refused.value.fields == ("node",)


def test_it_has_one_name_and_answers_like_ethereum() -> None:
    assert RpcSubject.of(" connect: Kotti ") == RpcSubject("connect:kotti", family="evm")
    assert node_dataset("connect:ETH") == DatasetName("bloq://connect", "eth")


@pytest.mark.parametrize(
    "asset",
    [
        blocks("ETH", "mainnet", connect=True, finality="finalized"),
        addresses("eth", "mainnet", "treasury", addresses=ADDRESS, connect=True),
        logs("eth", "mainnet", "usdc", addresses=ADDRESS, connect=True),
    ],
    ids=lambda asset: asset.uri,
)
def test_assets_of_such_chains_are_watched_by_it(asset: Any) -> None:
    (watcher,) = asset.watchers
    assert watcher.trigger.subject == RpcSubject("connect:eth", family="evm")


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: blocks("doge", "mainnet", connect=True), "chain"),
        (lambda: logs("btc", "mainnet", "usdc", connect=True), "chain"),
        (lambda: blocks("eth", "mainnet", node="node-1", connect=True), "connect"),
    ],
)
def test_assets_that_it_cannot_watch_are_refused(make: Any, field: str) -> None:
    with pytest.raises(BloqConfigurationError) as refused:
        make()
    assert refused.value.fields == (field,)
