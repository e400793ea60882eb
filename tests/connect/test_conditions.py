"""Conditions and sensors of Connect: blocks, transactions, balances and payments, counted by Connect's index."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_bloq.connect.conditions import (
    ConnectTransactionConfirmed,
    FoundTransactions,
    IndexedTip,
)
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqTransactionDropped, BloqUnavailable
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.operators.connect import BloqAddressHistoryOperator
from airflow_provider_bloq.polling.conditions import Waiting
from airflow_provider_bloq.polling.serialization import condition_to_json
from airflow_provider_bloq.sensors._base import BloqSensor
from airflow_provider_bloq.sensors.connect import (
    BloqAddressBalanceSensor,
    BloqConnectBlockSensor,
    BloqConnectTransactionSensor,
    BloqPaymentSensor,
)
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.local import LocalBloq
from tests.connect.conftest import Changing, ScriptedConnect, address_of, as_json, fresh_payment
from tests.sensors.conftest import context_of
from tests.sensors.test_sensor_chains import triggered

ADDRESS = "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"


def poke(sensor: BloqSensor) -> Any:
    """Poke once; None if the sensor goes on waiting."""
    return as_json(sensor.poke(context_of()).xcom_value)


@pytest.mark.bitcoind
def test_a_block_with_its_confirmations(bloq: LocalBloq, bitcoin: Bitcoind) -> None:
    height = bitcoin.height + 1
    sensor = BloqConnectBlockSensor(task_id="wait", chain="btc", height=str(height), confirmations=2)
    assert poke(sensor) is None
    bitcoin.mine()
    assert poke(sensor) is None
    bitcoin.mine()
    found = poke(sensor)
    assert (found["height"], found["confirmations"]) == (height, 2)
    assert found["head"]["hash"] == bitcoin.block_hash(height + 1)


@pytest.mark.bitcoind
def test_a_transaction_with_its_confirmations_after_a_reorg(bloq: LocalBloq, bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin)
    sensor = BloqConnectTransactionSensor(
        task_id="wait", chain="btc", txid=payment.txid, confirmations="3", unseen_for=1e9
    )
    assert poke(sensor) is None
    bitcoin.send(payment)
    assert poke(sensor) is None
    bitcoin.mine()
    bitcoin.mine()
    assert poke(sensor) is None
    bitcoin.fork(2)
    assert poke(sensor) is None
    bitcoin.mine(3)
    found = poke(sensor)
    assert (found["txid"], found["confirmations"], found["height"]) == (payment.txid, 3, bitcoin.height - 2)


@pytest.mark.bitcoind
def test_an_unknown_transaction_ends_the_wait(bloq: LocalBloq, bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin)
    sensor = BloqConnectTransactionSensor(task_id="wait", chain="btc", txid=payment.txid, unseen_for=0)
    with pytest.raises(BloqTransactionDropped):
        poke(sensor)


@pytest.mark.bitcoind
def test_a_balance_counts_outputs_with_enough_confirmations(bloq: LocalBloq, bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin)
    address = address_of(bitcoin, payment)
    coins = BloqHook().connect("btc").unspent(address)
    before = sum(coin.amount_sat for coin in coins if coin.confirmations >= 1)
    wanted = before + payment.coins[0].satoshi
    options: dict[str, Any] = {"chain": "btc", "address": address, "at_least_sat": str(wanted)}
    unconfirmed = BloqAddressBalanceSensor(task_id="wait", confirmations=0, **options)
    deep = BloqAddressBalanceSensor(task_id="wait", confirmations=2, **options)
    assert poke(unconfirmed) is None
    bitcoin.send(payment)
    assert poke(unconfirmed)["balance_sat"] == wanted
    bitcoin.mine()
    assert poke(deep) is None
    bitcoin.mine()
    assert poke(deep)["balance_sat"] == wanted


@pytest.mark.bitcoind
def test_a_payment_in_the_mempool_and_with_confirmations(bloq: LocalBloq, bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin)
    address = address_of(bitcoin, payment)
    amount = payment.coins[0].satoshi
    since = bitcoin.height + 1
    options: dict[str, Any] = {"chain": "btc", "address": address, "since_height": since}
    at_once = BloqPaymentSensor(task_id="wait", confirmations=0, at_least_sat=amount, **options)
    deep = BloqPaymentSensor(task_id="wait", confirmations=2, at_least_sat=amount, **options)
    larger = BloqPaymentSensor(task_id="wait", confirmations=0, at_least_sat=amount + 1, **options)
    assert poke(at_once) is None
    bitcoin.send(payment)
    seen = poke(at_once)
    assert (seen["txid"], seen["index"], seen["amount_sat"], seen["height"]) == (
        payment.txid, 0, amount, None,
    )  # fmt: skip
    assert poke(larger) is None
    bitcoin.mine()
    assert poke(deep) is None
    # It still counts when it has been spent.
    bitcoin.mine_only(pay(payment.coins, fee=2_000))
    assert (poke(deep)["height"], poke(deep)["confirmations"]) == (since, 2)


@pytest.mark.bitcoind
def test_a_deferred_payment(bloq: LocalBloq, bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin)
    sensor = BloqPaymentSensor(
        task_id="wait",
        chain="btc",
        address=address_of(bitcoin, payment),
        since_height=bitcoin.height + 1,
        deferrable=True,
        poke_interval=0.1,
    )
    with pytest.raises(TaskDeferred) as deferral:
        sensor.execute(context_of())
    bitcoin.mine_only(payment)
    assert sensor.execute_complete(context_of(), triggered(deferral.value))["txid"] == payment.txid


def test_chain_and_network_may_be_in_upper_case() -> None:
    sensors: list[tuple[Callable[..., BloqSensor], dict[str, Any]]] = [
        (BloqConnectBlockSensor, {"height": 7}),
        (BloqConnectTransactionSensor, {"txid": "ab" * 32}),
        (BloqAddressBalanceSensor, {"address": ADDRESS}),
        (BloqPaymentSensor, {"address": ADDRESS}),
    ]
    for make, arguments in sensors:
        usual = make(task_id="wait", chain="btc", network="mainnet", **arguments).condition()
        other = make(task_id="wait", chain=" BTC", network="Mainnet", **arguments).condition()
        # Equal targets share their polls.
        assert (condition_to_json(other), other.target) == (condition_to_json(usual), usual.target)


def test_unseen_for_is_a_number_of_seconds_or_a_timedelta() -> None:
    for given in ("60", " 60.0 ", 60, timedelta(minutes=1)):
        sensor = BloqConnectTransactionSensor(
            task_id="wait", chain="btc", txid="ab" * 32, unseen_for="{{ given }}" if given == "60" else given
        )
        sensor.render_template_fields({"given": given})  # type: ignore[arg-type]
        assert condition_to_json(sensor.condition())["unseen_for"] == 60.0


def test_invalid_arguments_are_refused() -> None:
    wrong_ones: list[dict[str, Any]] = [
        {"chain": "eth"},
        {"network": "moonnet"},
        {"address": "x"},
        {"at_least_sat": 0},
        {"at_least_sat": "1.5"},
        {"confirmations": -1},
        {"since_height": "soon"},
    ]
    for wrong in wrong_ones:
        with pytest.raises(BloqConfigurationError) as refused:
            BloqPaymentSensor(task_id="wait", **{"chain": "btc", "address": ADDRESS, **wrong}).condition()
        assert refused.value.fields == tuple(wrong)
    transactions: list[dict[str, Any]] = [{"txid": "ab"}, {"confirmations": 0}, {"unseen_for": -1}]
    for wrong in transactions:
        with pytest.raises(BloqConfigurationError) as refused:
            ConnectTransactionConfirmed(**{"chain": "btc", "txid": "ab" * 32, **wrong})
        assert refused.value.fields == tuple(wrong)


def test_a_transaction_known_to_no_poll_yet_is_waited_for() -> None:
    condition = ConnectTransactionConfirmed("btc", "ab" * 32)
    memory = {"unknown_since": 1.0}
    assert condition.judge(FoundTransactions({}, 99.0), memory) == Waiting(
        "it has not been polled yet", memory
    )


class Index:
    """Connect's index, which stops at a block while its node continues."""

    def __init__(self, node: Bitcoind) -> None:
        self.node = node
        self.height: int | None = node.height
        #: Answers to the next requests for a block.
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


@pytest.mark.bitcoind
def test_a_block_counts_when_connect_has_indexed_it(index: Index, bitcoin: Bitcoind) -> None:
    indexed = bitcoin.height
    bitcoin.mine()
    old = BloqConnectBlockSensor(task_id="old", chain="btc", height=indexed)
    new = BloqConnectBlockSensor(task_id="new", chain="btc", height=indexed + 1)
    found = poke(old)
    assert (found["confirmations"], found["head"]["height"]) == (1, indexed)
    assert poke(new) is None
    index.height = None
    assert poke(new)["head"]["height"] == indexed + 1


@pytest.mark.bitcoind
def test_a_newest_block_that_connect_does_not_return_yet_is_waited_for(
    index: Index, bitcoin: Bitcoind
) -> None:
    sensor = BloqConnectBlockSensor(task_id="wait", chain="btc", height=bitcoin.height)
    index.blocks.append((404, b"Not found"))
    assert poke(sensor) is None
    assert poke(sensor)["height"] == bitcoin.height


@pytest.mark.bitcoind
def test_the_newest_block_is_read_once(bloq: LocalBloq, bitcoin: Bitcoind) -> None:
    sensor = BloqConnectBlockSensor(task_id="wait", chain="btc", height=bitcoin.height + 1)
    bloq.reset_counters()
    for _ in range(3):
        assert poke(sensor) is None
    calls = bloq.counters().calls
    assert (calls["connect GET /status"], calls["connect GET /block/{hash}"]) == (3, 1)


@pytest.mark.bitcoind
@pytest.mark.parametrize("confirmations", [0, 1, 2])
def test_confirmations_are_counted_from_the_indexed_tip(
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


@pytest.mark.bitcoind
def test_nothing_is_confirmed_while_the_newest_block_is_missing(index: Index, bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin)
    bitcoin.mine_only(payment)
    index.height = None
    sensor = BloqConnectTransactionSensor(task_id="wait", chain="btc", txid=payment.txid, unseen_for=0)
    index.blocks.append((404, b"Not found"))
    # The transaction is known, so the wait does not fail either.
    assert poke(sensor) is None
    assert poke(sensor)["confirmations"] == 1


def test_an_answer_without_the_newest_block_is_an_error(scripted: ScriptedConnect) -> None:
    scripted.answer = (200, b"{}")
    client = BloqHook().connect("btc", "mainnet")
    with pytest.raises(BloqUnavailable, match="newest block"):
        client.run(IndexedTip(client).read())
