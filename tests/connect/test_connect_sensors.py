"""Sensors of Connect, poked and deferred: blocks, transactions, balances and payments."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqTransactionDropped
from airflow_provider_bloq.hooks.bloq import BloqHook
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
from tests.connect.conftest import address_of, as_json, fresh_payment
from tests.sensors.conftest import context_of
from tests.sensors.test_sensor_chains import triggered

pytestmark = pytest.mark.bitcoind
ADDRESS = "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"


def poke(sensor: BloqSensor) -> Any:
    """Look once; None where it waits on."""
    return as_json(sensor.poke(context_of()).xcom_value)


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


def test_a_transaction_until_it_has_its_confirmations_also_through_a_reorg(
    bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
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


def test_a_transaction_that_is_nowhere_for_long_ends_the_wait(bloq: LocalBloq, bitcoin: Bitcoind) -> None:
    payment = fresh_payment(bitcoin)
    sensor = BloqConnectTransactionSensor(task_id="wait", chain="btc", txid=payment.txid, unseen_for=0)
    with pytest.raises(BloqTransactionDropped):
        poke(sensor)


def test_a_balance_counts_what_is_deep_enough(bloq: LocalBloq, bitcoin: Bitcoind) -> None:
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


def test_a_payment_is_seen_at_once_and_with_confirmations(bloq: LocalBloq, bitcoin: Bitcoind) -> None:
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
    # Spent meanwhile, it was paid all the same.
    bitcoin.mine_only(pay(payment.coins, fee=2_000))
    assert (poke(deep)["height"], poke(deep)["confirmations"]) == (since, 2)


def test_deferred_payments_are_asked_for_in_the_triggerer(bloq: LocalBloq, bitcoin: Bitcoind) -> None:
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


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (BloqConnectBlockSensor, {"height": 7}),
        (BloqConnectTransactionSensor, {"txid": "ab" * 32}),
        (BloqAddressBalanceSensor, {"address": ADDRESS}),
        (BloqPaymentSensor, {"address": ADDRESS}),
    ],
)
def test_chain_and_network_may_be_in_upper_case_and_are_looked_at_together(
    make: Callable[..., BloqSensor], arguments: dict[str, Any]
) -> None:
    usual = make(task_id="wait", chain="btc", network="mainnet", **arguments).condition()
    other = make(task_id="wait", chain=" BTC", network="Mainnet", **arguments).condition()
    assert (condition_to_json(other), other.target) == (condition_to_json(usual), usual.target)


@pytest.mark.parametrize("given", ["60", " 60.0 ", 60, timedelta(minutes=1)])
def test_how_long_it_may_be_unseen_is_given_in_seconds_or_as_a_duration(given: Any) -> None:
    sensor = BloqConnectTransactionSensor(
        task_id="wait", chain="btc", txid="ab" * 32, unseen_for="{{ given }}" if given == "60" else given
    )
    sensor.render_template_fields({"given": given})  # type: ignore[arg-type]
    assert condition_to_json(sensor.condition())["unseen_for"] == 60.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"chain": "eth"},
        {"network": "moonnet"},
        {"address": "x"},
        {"at_least_sat": 0},
        {"at_least_sat": "1.5"},
        {"confirmations": -1},
        {"since_height": "soon"},
    ],
)
def test_what_cannot_be_waited_for_is_refused(wrong: dict[str, Any]) -> None:
    right = {"chain": "btc", "address": ADDRESS}
    with pytest.raises(BloqConfigurationError) as refused:
        BloqPaymentSensor(task_id="wait", **{**right, **wrong}).condition()
    assert refused.value.fields == tuple(wrong)
