"""BloqConnectOperator: any endpoint by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqResultTooLarge
from airflow_provider_bloq.operators.connect import BloqConnectOperator
from airflow_provider_bloq.testing.bitcoind import Bitcoind
from airflow_provider_bloq.testing.local import LocalBloq
from tests.connect.conftest import address_of, as_json, fresh_payment
from tests.hooks.conftest import Connect


def asking(endpoint: Any, parameters: Any = None, **options: Any) -> BloqConnectOperator:
    options = {"task_id": "ask", "chain": "btc", **options}
    return BloqConnectOperator(endpoint=endpoint, parameters=parameters, **options)


def test_a_wrong_call_is_refused_when_the_dag_is_parsed() -> None:
    wrong: list[tuple[Any, Any, str]] = [
        ("moon", {}, "block_hash"),
        ("send", {}, "unknown"),
        ("run", {}, "unknown"),
        ("balance", {}, "address is missing"),
        ("balance", {"adress": "x"}, "adress is unknown; address is missing.*takes address"),
        ("info", {"x": 1}, "takes none"),
    ]
    for endpoint, parameters, told in wrong:
        with pytest.raises(BloqConfigurationError, match=told):
            asking(endpoint, parameters)
    with pytest.raises(BloqConfigurationError, match="not a dict"):
        asking("info", ["x"]).execute({})


def test_a_templated_endpoint_is_checked_when_it_is_rendered() -> None:
    for template in ("{{ what }}", "{% if what %}moon{% endif %}", "moon{# which one? #}"):
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
def test_every_result_is_json(bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]) -> None:
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
def test_a_filter_may_be_templated(bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any]) -> None:
    payment = fresh_payment(bitcoin)
    bitcoin.mine_only(payment)
    of_address = {"addresses": address_of(bitcoin, payment)}
    for natively in (False, True):
        with DAG("filters", schedule=None, render_template_as_native_obj=natively):
            templated = asking("blocks", {"limit": 2}, response_filter="blocks[{{ index }}].{{ field }}")
            # Rendered natively, this would become a list.
            first = asking("unspent", of_address, task_id="first", response_filter="[0]")
        for operator in (templated, first):
            operator.render_template_fields({"index": 0, "field": "height"})  # type: ignore[arg-type]
        assert templated.execute(context) == bitcoin.height
        assert first.execute(context)["address"] == of_address["addresses"]


def test_a_wrong_filter_is_refused_when_it_is_known(connect: Connect, context: dict[str, Any]) -> None:
    connect("http://127.0.0.1:9", "http://127.0.0.1:9")
    with pytest.raises(BloqConfigurationError, match="not a JMESPath expression"):
        asking("info", response_filter="[")
    with DAG("filters", schedule=None, render_template_as_native_obj=True):
        operator = asking("info", response_filter="{{ what }}")
    for wrong, told in ((7, "of type int"), ("[", "not a JMESPath expression")):
        operator.response_filter = "{{ what }}"
        operator.render_template_fields({"what": wrong})  # type: ignore[arg-type]
        with pytest.raises(BloqConfigurationError, match=told):
            operator.execute(context)


def test_endpoint_and_filter_may_be_the_output_of_a_task() -> None:
    with DAG("outputs", schedule=None):
        chosen = asking("info", task_id="choose").output
        assert asking(chosen, {"height": 7}, response_filter=chosen).upstream_task_ids == {"choose"}


@pytest.mark.bitcoind
def test_a_large_result_goes_to_storage(
    bloq: LocalBloq, bitcoin: Bitcoind, context: dict[str, Any], tmp_path: Path
) -> None:
    path = asking("info", result_limit=0, result_path=f"file://{tmp_path}/").execute(context)
    assert json.loads(Path(path.removeprefix("file://")).read_text())["height"] == bitcoin.height
    with pytest.raises(BloqResultTooLarge):
        asking("info", result_limit=0).execute(context)
