"""Operators of Connect: any endpoint by its name, and histories that are carried on from run to run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqResultTooLarge
from airflow_provider_bloq.operators.connect import BloqAddressHistoryOperator, BloqConnectOperator
from airflow_provider_bloq.testing.bitcoind import Bitcoind, BitcoinPayment, pay
from airflow_provider_bloq.testing.local import LocalBloq
from tests.connect.conftest import address_of, as_json, fresh_payment
from tests.hooks.conftest import Connect


def asking(endpoint: Any, parameters: Any = None, **options: Any) -> BloqConnectOperator:
    options = {"task_id": "ask", "chain": "btc", **options}
    return BloqConnectOperator(endpoint=endpoint, parameters=parameters, **options)


def history(address: str, **options: Any) -> BloqAddressHistoryOperator:
    return BloqAddressHistoryOperator(task_id="history", chain="btc", addresses=[address], **options)


@pytest.mark.parametrize(
    ("endpoint", "parameters", "told"),
    [
        ("moon", {}, "block_hash"),
        ("send", {}, "unknown"),
        ("run", {}, "unknown"),
        ("balance", {}, "address is missing"),
        ("balance", {"adress": "x"}, "takes address"),
        ("info", {"x": 1}, "takes none"),
    ],
)
def test_a_wrong_name_is_told_when_the_dag_is_parsed(endpoint: str, parameters: Any, told: str) -> None:
    with pytest.raises(BloqConfigurationError, match=told):
        asking(endpoint, parameters)


@pytest.mark.parametrize("template", ["{{ what }}", "{% if what %}moon{% endif %}", "moon{# which one? #}"])
def test_a_templated_name_is_judged_when_it_is_known(template: str) -> None:
    operator = asking(template)
    operator.render_template_fields({"what": "moon"})  # type: ignore[arg-type]
    with pytest.raises(BloqConfigurationError, match="moon"):
        operator.execute({})


@pytest.mark.bitcoind
def test_numbers_may_be_templated(bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]) -> None:
    assert asking("block_hash", {"height": " 7 "}).execute(context) == bitcoin.block_hash(7)
    assert len(asking("blocks", {"limit": "2"}).execute(context)["blocks"]) == 2
    with pytest.raises(BloqConfigurationError, match="height"):
        asking("block_hash", {"height": "seven"}).execute(context)


@pytest.mark.bitcoind
def test_every_value_comes_as_json(bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]) -> None:
    payment = fresh_payment(bitcoin)
    block_hash = bitcoin.mine_only(payment)
    address = address_of(bitcoin, payment)
    parameters: dict[str, Any] = {
        "balance": {"address": address},
        "unspent": {"addresses": address},
        "address": {"address": address},
        "transaction": {"txid": payment.txid},
        "transactions_of_block": {"block_hash": block_hash},
        "block": {"block_hash": block_hash},
        "blocks": {"limit": 2},
        "info": {},
        "difficulty": None,
        "sync": {},
    }
    results = {name: asking(name, given).execute(context) for name, given in parameters.items()}
    assert as_json(results) == results
    assert results["transaction"]["outputs"][0]["amount_sat"] == payment.coins[0].satoshi
    picked = asking("transaction", {"txid": payment.txid}, response_filter="outputs[0].amount_sat")
    assert picked.execute(context) == payment.coins[0].satoshi


@pytest.mark.bitcoind
@pytest.mark.parametrize("natively", [False, True])
def test_a_filter_may_be_templated_and_stays_as_it_is_where_it_is_not(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any], natively: bool
) -> None:
    payment = fresh_payment(bitcoin)
    bitcoin.mine_only(payment)
    of_address = {"addresses": address_of(bitcoin, payment)}
    with DAG("filters", schedule=None, render_template_as_native_obj=natively):
        templated = asking("blocks", {"limit": 2}, response_filter="blocks[{{ place }}].{{ field }}")
        # Python reads a list in it.
        first = asking("unspent", of_address, task_id="first", response_filter="[0]")
    for operator in (templated, first):
        operator.render_template_fields({"place": 0, "field": "height"})  # type: ignore[arg-type]
    assert templated.execute(context) == bitcoin.height
    assert first.execute(context)["address"] == of_address["addresses"]


def test_a_wrong_filter_is_told_when_it_is_known(connect: Connect, context: dict[str, Any]) -> None:
    connect("http://127.0.0.1:9", "http://127.0.0.1:9")
    with pytest.raises(BloqConfigurationError, match="no JMESPath expression"):
        asking("info", response_filter="[")
    with DAG("filters", schedule=None, render_template_as_native_obj=True):
        operator = asking("info", response_filter="{{ what }}")
    for wrong, told in ((7, "of type int"), ("[", "no JMESPath expression")):
        operator.response_filter = "{{ what }}"
        operator.render_template_fields({"what": wrong})  # type: ignore[arg-type]
        with pytest.raises(BloqConfigurationError, match=told):
            operator.execute(context)


def test_endpoint_and_filter_may_be_the_output_of_a_task() -> None:
    with DAG("outputs", schedule=None):
        chosen = asking("info", task_id="choose").output
        assert asking(chosen, {"height": 7}, response_filter=chosen).upstream_task_ids == {"choose"}


@pytest.mark.bitcoind
def test_what_is_large_goes_to_storage(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any], tmp_path: Path
) -> None:
    path = asking("info", result_limit=0, result_path=f"file://{tmp_path}/").execute(context)
    assert json.loads(Path(path.removeprefix("file://")).read_text())["height"] == bitcoin.height
    with pytest.raises(BloqResultTooLarge):
        asking("info", result_limit=0).execute(context)


def key_of(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["txid"], row["direction"], row["index"]


def paid(payment: BitcoinPayment, *indexes: int) -> set[tuple[str, str, int]]:
    return {(payment.txid, "in", index) for index in indexes}


@pytest.mark.bitcoind
def test_a_history_is_carried_on_without_a_gap_and_without_a_double(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    start = bitcoin.height + 1
    first = fresh_payment(bitcoin, outputs=2)
    start = bitcoin.height + 1
    address = address_of(bitcoin, first)
    bitcoin.mine_only(first)
    told = history(address, from_height=start).execute(context)
    assert as_json(told) == told
    assert {key_of(row) for row in told["rows"]} == paid(first, 0, 1)
    assert {row["amount_sat"] for row in told["rows"]} == {first.coins[0].satoshi}
    assert (told["from_height"], told["cursor"]["height"]) == (start, bitcoin.height)
    nothing = history(address, cursor=told).execute(context)
    assert (nothing["rows"], nothing["cursor"]) == ([], told["cursor"])
    second = pay(first.coins[:1], fee=2_000)
    bitcoin.mine_only(second)
    bitcoin.send(pay(second.coins, fee=2_000))
    more = history(address, cursor=json.dumps(told["cursor"])).execute(context)
    assert {key_of(row) for row in more["rows"]} == {(second.txid, "out", 0)} | paid(second, 0)
    assert {row["confirmations"] for row in more["rows"]} == {1}


@pytest.mark.bitcoind
def test_only_blocks_that_are_deep_enough_are_read(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    payment = fresh_payment(bitcoin)
    start = bitcoin.height + 1
    bitcoin.mine_only(payment)
    address = address_of(bitcoin, payment)
    early = history(address, from_height=start, confirmations=2).execute(context)
    assert (early["rows"], early["cursor"]) == ([], None)
    bitcoin.mine_only()
    late = history(address, from_height=str(start), confirmations="2").execute(context)
    assert [key_of(row) for row in late["rows"]] == [(payment.txid, "in", 0)]
    assert late["rows"][0]["confirmations"] == 2


@pytest.mark.bitcoind
def test_after_a_reorg_what_was_replaced_is_told_anew(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]
) -> None:
    kept, lost = fresh_payment(bitcoin), fresh_payment(bitcoin)
    start = bitcoin.height + 1
    bitcoin.mine_only(kept)
    bitcoin.mine_only(lost)
    bitcoin.mine_only()
    bitcoin.mine_only()
    address = address_of(bitcoin, kept)
    told = history(address, from_height=start).execute(context)
    assert {kept.txid, lost.txid} == {row["txid"] for row in told["rows"]}
    bitcoin.fork(3)
    anew = history(address, cursor=told).execute(context)
    assert anew["reorganised"]
    assert anew["from_height"] <= start
    txids = {row["txid"] for row in anew["rows"]}
    assert kept.txid in txids
    assert lost.txid not in txids
    bitcoin.mine()
    again = history(address, cursor=anew).execute(context)
    assert not again["reorganised"]
    assert {row["txid"] for row in again["rows"]} == {lost.txid}


@pytest.mark.parametrize("cursor", [{"height": 1}, "{'height': 1}", 7, {"cursor": []}])
def test_what_is_no_cursor_is_refused(bloq: LocalBloq, context: dict[str, Any], cursor: Any) -> None:
    address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
    with pytest.raises(BloqConfigurationError, match="tojson"):
        history(address, cursor=cursor).execute(context)


def test_addresses_are_a_list_of_texts(bloq: LocalBloq, context: dict[str, Any]) -> None:
    for wrong in ([], "", [7]):
        with pytest.raises(BloqConfigurationError, match="addresses"):
            BloqAddressHistoryOperator(task_id="history", chain="btc", addresses=wrong).execute(context)  # type: ignore[arg-type]
