"""What Connect's node has and Connect has not taken in yet is waited for: nobody could ask Connect about it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.operators.connect import BloqAddressHistoryOperator
from airflow_provider_bloq.sensors._base import BloqSensor
from airflow_provider_bloq.sensors.connect import (
    BloqAddressBalanceSensor,
    BloqConnectBlockSensor,
    BloqConnectTransactionSensor,
    BloqPaymentSensor,
)
from airflow_provider_bloq.testing.bitcoind import Bitcoind
from airflow_provider_bloq.testing.local import LocalBloq
from tests.connect.conftest import Changing, address_of, fresh_payment
from tests.connect.test_connect_sensors import poke

pytestmark = pytest.mark.bitcoind


class Index:
    """Connect's index, which stops at a block while its node goes on. It shows what the node has all the same.

    :param node: The node.
    """

    def __init__(self, node: Bitcoind) -> None:
        self.node = node
        self.height: int | None = node.height
        #: What is answered to the question for a block, instead of the block.
        self.blocks: list[tuple[int, bytes]] = []

    def change(self, path: str, status: int, body: bytes) -> tuple[int, bytes]:
        if "/block/" in path and self.blocks:
            return self.blocks.pop()
        if self.height is None or not path.endswith(("/status", "/sync")):
            return status, body
        told = json.loads(body)
        if "syncTipHash" in told:
            told["syncTipHash"] = self.node.block_hash(self.height)
        if "blockChainHeight" in told:
            told["height"] = self.height
        return status, json.dumps(told).encode()


@pytest.fixture
def index(changing: Changing, bitcoin: Bitcoind) -> Index:
    made = Index(bitcoin)
    changing(made.change)
    return made


def test_a_block_counts_when_connect_has_taken_it_in(index: Index, bitcoin: Bitcoind) -> None:
    taken_in = bitcoin.height
    bitcoin.mine()
    old = BloqConnectBlockSensor(task_id="old", chain="btc", height=taken_in)
    new = BloqConnectBlockSensor(task_id="new", chain="btc", height=taken_in + 1)
    found = poke(old)
    assert (found["confirmations"], found["head"]["height"]) == (1, taken_in)
    assert poke(new) is None
    index.height = None
    assert poke(new)["head"]["height"] == taken_in + 1


def test_a_newest_block_that_connect_does_not_show_yet_is_waited_for(index: Index, bitcoin: Bitcoind) -> None:
    sensor = BloqConnectBlockSensor(task_id="wait", chain="btc", height=bitcoin.height)
    index.blocks.append((404, b"Not found"))
    assert poke(sensor) is None
    assert poke(sensor)["height"] == bitcoin.height


def test_the_newest_block_is_read_once(bloq: LocalBloq, bitcoin: Bitcoind) -> None:
    sensor = BloqConnectBlockSensor(task_id="wait", chain="btc", height=bitcoin.height + 1)
    bloq.reset_counters()
    for _ in range(3):
        assert poke(sensor) is None
    calls = bloq.counters().calls
    assert (calls["connect GET /status"], calls["connect GET /block/{hash}"]) == (3, 1)


@pytest.mark.parametrize("confirmations", [0, 1, 2])
def test_confirmations_are_those_that_connect_has_taken_in(
    index: Index, bitcoin: Bitcoind, context: dict[str, Any], confirmations: int
) -> None:
    payment = fresh_payment(bitcoin)
    address = address_of(bitcoin, payment)
    before = sum(coin.amount_sat for coin in BloqHook().connect("btc").unspent(address))
    bitcoin.mine_only(payment)
    start = bitcoin.height
    bitcoin.mine(2)
    amount = payment.coins[0].satoshi
    options: dict[str, Any] = {"task_id": "wait", "chain": "btc", "confirmations": confirmations}
    sensors: list[BloqSensor] = [
        BloqPaymentSensor(**options, address=address, at_least_sat=amount, since_height=start),
        BloqAddressBalanceSensor(**options, address=address, at_least_sat=before + amount),
    ]
    if confirmations:
        sensors.append(BloqConnectTransactionSensor(**options, txid=payment.txid))
    index.height = start + confirmations - 2
    early = [poke(sensor) for sensor in sensors]
    assert [one is None for one in early] == [confirmations > 0] * len(sensors)
    index.height = start + confirmations - 1
    assert [poke(sensor)["confirmations"] for sensor in sensors] == [confirmations] * len(sensors)
    if confirmations:
        history = BloqAddressHistoryOperator(
            task_id="history", chain="btc", addresses=address, from_height=start, confirmations=confirmations
        )
        assert payment.txid in {row["txid"] for row in history.execute(context)["rows"]}


def test_while_the_newest_block_is_not_shown_nothing_is_confirmed(index: Index, bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin)
    bitcoin.mine_only(payment)
    index.height = None
    sensor = BloqConnectTransactionSensor(task_id="wait", chain="btc", txid=payment.txid, unseen_for=0)
    index.blocks.append((404, b"Not found"))
    # It is known, so the wait does not end either.
    assert poke(sensor) is None
    assert poke(sensor)["confirmations"] == 1
