"""``connect:<chain>`` in place of a node: operators, sensors and watchers on Connect's JSON-RPC."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
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

ADDRESS = "0x" + "ab" * 20


@pytest.fixture
def path_key(running_evm: LocalBloq, connect: Connect) -> str:
    """The path key of ``bloq_default``."""
    key = running_evm.create_connect_key("eth")
    connected(connect, running_evm, connect_api_keys={"eth": key})
    return key


@pytest.mark.anvil
def test_operators(path_key: str, context: dict[str, Any]) -> None:
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
def test_a_deferred_sensor_stores_no_key(path_key: str, context: dict[str, Any]) -> None:
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
async def test_a_watcher_of_blocks(path_key: str) -> None:
    async with BloqAsyncHook() as hook:
        rpc = hook.connect_rpc("eth")
        await rpc.call("evm_mine")
        newest = await rpc.call("eth_getBlockByNumber", ["latest", False])
    height = int(newest["number"], 16)
    trigger = BloqBlockTrigger(node="connect:eth", confirmations=1, start=height, poll_interval=0.1)
    async with aclosing(trigger.run()) as events:
        event = await anext(events)
    assert (event.payload["first"], event.payload["last_hash"]) == (height, newest["hash"])


def test_node_options_are_refused(connect: Connect) -> None:
    connect(NOWHERE, NOWHERE, extra={"connect_api_keys": {"eth": "amber-acorn-arrow"}})
    options: list[dict[str, Any]] = [{"port": 8545}, {"path": "/rpc"}, {"tls_fingerprint": "ab" * 32}]
    for option in options:
        for make in (BloqHook().rpc, RpcSubject.of):
            with pytest.raises(BloqConfigurationError) as refused:
                make("connect:eth", **option)
            assert refused.value.fields == tuple(option)


def test_an_unknown_chain_is_refused(connect: Connect) -> None:
    connect(NOWHERE, NOWHERE)
    for node, told in (("connect:doge", "eth, etc"), ("connect:btc", "REST"), ("connect:", "eth")):
        with pytest.raises(BloqConfigurationError, match=told) as refused:
            BloqHook().rpc(node)
        assert refused.value.fields == ("chain",)


def test_there_is_no_session(connect: Connect) -> None:
    connect(NOWHERE, NOWHERE, extra={"connect_api_keys": {"eth": "amber-acorn-arrow"}})
    rpc = BloqHook().rpc("connect:eth")
    assert rpc.url.endswith("/v1/***")
    with pytest.raises(BloqConfigurationError, match="call and batch") as refused:
        rpc.get_conn()
    assert refused.value.fields == ("node",)


def test_it_has_one_name_and_the_family_evm() -> None:
    assert RpcSubject.of(" connect: Kotti ") == RpcSubject("connect:kotti", family="evm")
    assert node_dataset("connect:ETH") == DatasetName("bloq://connect", "eth")


def test_assets_are_watched_through_connect() -> None:
    for asset in (
        blocks("ETH", "mainnet", connect=True, finality="finalized"),
        addresses("eth", "mainnet", "treasury", addresses=ADDRESS, connect=True),
        logs("eth", "mainnet", "usdc", addresses=ADDRESS, connect=True),
    ):
        (watcher,) = asset.watchers
        trigger: Any = watcher.trigger
        assert trigger.subject == RpcSubject("connect:eth", family="evm")


def test_assets_that_connect_cannot_watch_are_refused() -> None:
    makers: list[tuple[Callable[[], Any], str]] = [
        (lambda: blocks("doge", "mainnet", connect=True), "chain"),
        (lambda: logs("btc", "mainnet", "usdc", connect=True), "chain"),
        (lambda: blocks("eth", "mainnet", node="node-1", connect=True), "connect"),
    ]
    for make, field in makers:
        with pytest.raises(BloqConfigurationError) as refused:
            make()
        assert refused.value.fields == (field,)
