"""The sensors of a chain and of clusters against real ones: an Ethereum node, and the local service."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, TaskDeferred

from airflow_provider_bloq.exceptions import BloqTransactionReverted
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.sensors._base import BloqSensor
from airflow_provider_bloq.sensors.chains import BloqBlockSensor, BloqTransactionSensor
from airflow_provider_bloq.sensors.nodes import BloqClusterSensor, BloqNodeSyncedSensor
from airflow_provider_bloq.testing.local import LocalBloq
from tests.sensors.conftest import Store, context_of
from tests.support.gated_endpoint import LONGEST

pytestmark = pytest.mark.anvil

#: The first two of the accounts that the chain starts with.
RICH = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
OTHER = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"
#: Init code of a contract that does nothing but revert: PUSH1 0, PUSH1 0, REVERT.
REVERTING = "0x60006000fd"


@pytest.fixture
def node(connected_chains: LocalBloq) -> dict[str, Any]:
    """A node as the create operator returns it."""
    created = BloqHook().nodes.create(connected_chains.service_id("eth"))
    return {**created.public(), "tls_fingerprint": connected_chains.node_fingerprint(created.id)}


@pytest.fixture
def rpc(node: dict[str, Any]) -> Any:
    return BloqHook().rpc(node)


def poke(sensor: BloqSensor) -> Any:
    """Look once as in reschedule mode; gives the result, or None where it still waits."""
    try:
        return sensor.execute(context_of(Store()))
    except AirflowRescheduleException:
        return None


def triggered(deferral: TaskDeferred) -> Any:
    """Run the trigger of a deferred task to its event, for as long as any test may take."""

    async def events() -> list[Any]:
        async with asyncio.timeout(LONGEST):
            return [event.payload async for event in deferral.trigger.run()]

    (event,) = asyncio.run(events())
    return json.loads(json.dumps(event))


def head_of(rpc: Any) -> int:
    return int(rpc.call("eth_blockNumber"), 16)


def test_a_block_is_waited_for_until_it_has_its_confirmations(node: dict[str, Any], rpc: Any) -> None:
    height = head_of(rpc) + 1
    sensor = BloqBlockSensor(
        task_id="wait", node=node, height=hex(height), confirmations=2, mode="reschedule", poke_interval=0
    )
    assert poke(sensor) is None
    rpc.call("anvil_mine", ["0x1"])
    assert poke(sensor) is None
    rpc.call("anvil_mine", ["0x1"])
    found = poke(sensor)
    assert (found["height"], found["confirmations"]) == (height, 2)
    assert found["head"]["height"] == height + 1


def test_deferred_too(node: dict[str, Any], rpc: Any) -> None:
    height = head_of(rpc) + 1
    sensor = BloqBlockSensor(task_id="wait", node=node, height=height, deferrable=True, poke_interval=0.1)
    with pytest.raises(TaskDeferred) as deferral:
        sensor.execute(context_of())
    rpc.call("anvil_mine", ["0x1"])
    result = sensor.execute_complete(context_of(), triggered(deferral.value))
    assert (result["height"], result["confirmations"]) == (height, 1)


def test_a_transaction_is_waited_for_until_it_has_its_confirmations(node: dict[str, Any], rpc: Any) -> None:
    tx_hash = rpc.call("eth_sendTransaction", [{"from": RICH, "to": OTHER, "value": "0x1"}])
    sensor = BloqTransactionSensor(
        task_id="wait", node=node, tx_hash=tx_hash, confirmations=2, mode="reschedule", poke_interval=0
    )
    assert poke(sensor) is None
    rpc.call("anvil_mine", ["0x1"])
    found = poke(sensor)
    assert (found["tx_hash"], found["confirmations"]) == (tx_hash, 2)


def test_deferred_transactions_are_asked_for_in_the_triggerer(node: dict[str, Any], rpc: Any) -> None:
    tx_hash = rpc.call("eth_sendTransaction", [{"from": RICH, "to": OTHER, "value": "0x1"}])
    sensor = BloqTransactionSensor(
        task_id="wait", node=node, tx_hash=tx_hash, confirmations=2, deferrable=True, poke_interval=0.1
    )
    with pytest.raises(TaskDeferred) as deferral:
        sensor.execute(context_of())
    rpc.call("anvil_mine", ["0x1"])
    result = sensor.execute_complete(context_of(), triggered(deferral.value))
    assert (result["tx_hash"], result["confirmations"]) == (tx_hash, 2)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_transaction_without_effect_fails_it_for_good(
    node: dict[str, Any], rpc: Any, *, deferrable: bool
) -> None:
    request = {"from": RICH, "data": REVERTING, "gas": "0x30000"}
    tx_hash = rpc.call("eth_sendTransaction", [request])
    sensor = BloqTransactionSensor(task_id="wait", node=node, tx_hash=tx_hash, deferrable=deferrable)
    with pytest.raises(BloqTransactionReverted) as failure:
        sensor.execute(context_of())
    assert isinstance(failure.value, AirflowFailException)
    assert failure.value.tx_hash == tx_hash


def test_a_node_in_sync_is_found_to_be(node: dict[str, Any], rpc: Any) -> None:
    rpc.call("anvil_mine", ["0x1"])
    sensor = BloqNodeSyncedSensor(task_id="wait", node=node, within_blocks=0)
    assert sensor.execute(context_of())["head"]["height"] == head_of(rpc)


def test_a_cluster_is_waited_for_until_its_update_has_come_about(connected_chains: LocalBloq) -> None:
    clusters = BloqHook().clusters
    cluster = clusters.create(connected_chains.service_id("eth", kind="cluster"), "none")
    assert poke(BloqClusterSensor(task_id="wait", cluster=cluster.public()))["state"] == "started"
    bigger = int(cluster.shown["capacity"]) + 1
    sensor = BloqClusterSensor(
        task_id="wait", cluster=cluster.id, capacity=bigger, mode="reschedule", poke_interval=0
    )
    assert poke(sensor) is None
    clusters.update(cluster.id, capacity=bigger)
    found = poke(sensor)
    assert (found["id"], found["capacity"]) == (cluster.id, bigger)
