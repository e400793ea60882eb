"""``BloqJsonRpcOperator``: one call or a batch, errors raised or returned, and what is taken of a result."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqConfigurationError,
    BloqRpcError,
    BloqUnavailable,
)
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.operators.jsonrpc import BloqJsonRpcOperator
from airflow_provider_bloq.testing.local import LocalBloq
from tests.clients.scripted_node import NOWHERE, echo_all
from tests.hooks.conftest import Connect
from tests.operators.conftest import ServeNode
from tests.support.raw_server import RawConnection, SeenRequest, Serve

BLOCK = {"number": "0x10", "hash": "0xabc", "transactions": [{"to": "0x1"}, {"to": "0x2"}]}
HERE = "tests.operators.test_jsonrpc"


def number_of(block: Any) -> int:
    """A filter that a task names."""
    return int(block["number"], 16)


def no_json(block: Any) -> datetime:
    return datetime.now(UTC)


class Filters:
    """Filters may stand in a class."""

    @staticmethod
    def hash_of(block: Any) -> str:
        return str(block["hash"])


NO_FUNCTION = "neither"


def operator(node: Any, **arguments: Any) -> BloqJsonRpcOperator:
    return BloqJsonRpcOperator(task_id="call", node=getattr(node, "url", node), **arguments)


def blocks(body: Any) -> Any:
    """Answer each call with the block, but ``odd`` with an error."""
    if isinstance(body, list):
        return [blocks(call) for call in body]
    if body["method"] == "odd":
        error = {"code": -32602, "message": "odd parameters", "data": {"at": 1}}
        return {"jsonrpc": "2.0", "id": body["id"], "error": error}
    return {"jsonrpc": "2.0", "id": body["id"], "result": BLOCK}


def test_one_call_returns_its_result_and_a_batch_those_of_all(
    serve_node: ServeNode, context: dict[str, Any]
) -> None:
    node = serve_node(echo_all)
    assert operator(node, method="eth_chainId").execute(context) == "eth_chainId"
    assert operator(node, batch=["b", ["a", [1]], {"method": "c"}]).execute(context) == ["b", "a", "c"]
    assert operator(node, batch=[]).execute(context) == []


def test_parameters_of_the_method_are_told_from_those_of_airflow(
    serve_node: ServeNode, context: dict[str, Any]
) -> None:
    node = serve_node(echo_all)
    operator(node, method="by_list", rpc_params=["0x1", "latest"]).execute(context)
    operator(node, method="by_list", params=["0x1", "latest"]).execute(context)
    operator(node, method="by_name", rpc_params={"to": "0x1"}).execute(context)
    airflows = operator(node, method="bare", params={"address": "0x2"})
    airflows.execute(context)
    assert [json.loads(request.body)["params"] for request in node.requests] == [
        ["0x1", "latest"],
        ["0x1", "latest"],
        {"to": "0x1"},
        [],
    ]
    assert airflows.params["address"] == "0x2"


@pytest.mark.anvil
def test_a_node_is_given_as_the_create_operator_returns_it(
    connected_chains: LocalBloq, context: dict[str, Any]
) -> None:
    node = BloqHook().nodes.create(connected_chains.service_id("eth"))
    created = {**node.public(), "tls_fingerprint": connected_chains.node_fingerprint(node.id)}
    assert operator(created, method="eth_chainId").execute(context) == "0x7a69"
    mixed = operator(created, batch=["eth_chainId", "no_such"], raise_on_rpc_error=False).execute(context)
    assert mixed[0] == "0x7a69"
    assert (mixed[1]["error"]["code"], mixed[1]["error"]["method"]) == (-32601, "no_such")


@pytest.mark.parametrize("calls", [{"method": "odd"}, {"batch": ["fine", "odd", "fine"]}])
def test_an_error_of_the_node_is_raised_with_its_fields(
    serve_node: ServeNode, context: dict[str, Any], calls: Any
) -> None:
    with pytest.raises(BloqRpcError) as odd:
        operator(serve_node(blocks), **calls).execute(context)
    assert (odd.value.code, odd.value.data, odd.value.method) == (-32602, {"at": 1}, "odd")


def test_or_it_stands_in_its_place_and_no_filter_sees_it(
    serve_node: ServeNode, context: dict[str, Any]
) -> None:
    node = serve_node(blocks)
    error = {"error": {"code": -32602, "message": "odd parameters", "data": {"at": 1}, "method": "odd"}}
    lenient = {"raise_on_rpc_error": False, "response_filter": f"{HERE}:number_of"}
    assert operator(node, method="odd", **lenient).execute(context) == error
    assert operator(node, batch=["fine", "odd", "fine"], **lenient).execute(context) == [16, error, 16]


def test_a_node_that_gives_no_answer_is_raised_all_the_same(
    serve_node: ServeNode, context: dict[str, Any]
) -> None:
    node = serve_node(lambda _: b"<html>", 400)
    with pytest.raises(BloqApiError, match="answered 400"):
        operator(node, method="fine", raise_on_rpc_error=False).execute(context)


@pytest.mark.parametrize(
    ("response_filter", "taken"),
    [
        (None, BLOCK),
        ("number", "0x10"),
        ("transactions[*].to", ["0x1", "0x2"]),
        ("{height: number, first: transactions[0].to}", {"height": "0x10", "first": "0x1"}),
        ("transactions[0:1]", [{"to": "0x1"}]),
        ("no.such.field", None),
        (f"{HERE}:number_of", 16),
        (f"{HERE}:Filters.hash_of", "0xabc"),
        ("builtins:len", 3),
    ],
)
def test_a_filter_takes_what_is_wanted_of_each_result(
    serve_node: ServeNode, context: dict[str, Any], response_filter: str | None, taken: Any
) -> None:
    node = serve_node(blocks)
    assert operator(node, method="m", response_filter=response_filter).execute(context) == taken
    assert operator(node, batch=["m", "m"], response_filter=response_filter).execute(context) == [
        taken,
        taken,
    ]


@pytest.mark.parametrize(
    "response_filter",
    [
        number_of,
        lambda block: block,
        Filters(),
        7,
        ["number"],
        "",
        "  ",
        "number[",
        "a b",
        "a:",
        ":b",
        "a:b:c",
    ],
)
def test_what_is_no_filter_is_refused_when_the_dag_is_parsed(response_filter: Any) -> None:
    with pytest.raises(BloqConfigurationError, match="call: response_filter") as wrong:
        operator("node-1", method="m", response_filter=response_filter)
    assert wrong.value.fields == ("response_filter",)


@pytest.mark.parametrize(
    ("response_filter", "problem"),
    [
        ("no_such_module:function", "cannot be imported"),
        (f"{HERE}:no_such", "cannot be imported"),
        (f"{HERE}:NO_FUNCTION", "is not a function"),
    ],
)
def test_a_function_that_is_not_there_fails_the_task_before_the_call(
    serve_node: ServeNode, context: dict[str, Any], response_filter: str, problem: str
) -> None:
    node = serve_node(blocks)
    with pytest.raises(BloqConfigurationError, match=problem) as wrong:
        operator(node, method="m", response_filter=response_filter).execute(context)
    assert isinstance(wrong.value, AirflowFailException)
    assert node.requests == []


@pytest.mark.parametrize(
    ("response_filter", "problem"),
    [
        ("length(`1`)", "does not fit the result"),
        (f"{HERE}:no_json", "is not JSON"),
        ("builtins:set", "is not JSON"),
    ],
)
def test_a_filter_that_does_not_fit_fails_the_task_for_good(
    serve_node: ServeNode, context: dict[str, Any], response_filter: str, problem: str
) -> None:
    with pytest.raises(BloqConfigurationError, match=problem) as wrong:
        operator(serve_node(blocks), method="m", response_filter=response_filter).execute(context)
    assert isinstance(wrong.value, AirflowFailException)


def test_what_a_function_raises_is_the_authors_own(serve_node: ServeNode, context: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="int"):
        operator(serve_node(blocks), method="m", response_filter="builtins:int").execute(context)


@pytest.mark.parametrize("calls", [{}, {"method": "m", "batch": ["m"]}])
def test_neither_or_both_of_method_and_batch_are_refused(calls: Any) -> None:
    with pytest.raises(BloqConfigurationError) as wrong:
        operator("node-1", **calls)
    assert wrong.value.fields == ("method",)


@pytest.mark.parametrize("limit", [-1, 1.5, "1024", True])
def test_a_limit_that_is_no_number_of_bytes_is_refused(limit: Any) -> None:
    with pytest.raises(BloqConfigurationError) as wrong:
        operator("node-1", method="m", result_limit=limit)
    assert wrong.value.fields == ("result_limit",)


def test_no_field_that_airflow_renders_holds_a_secret() -> None:
    assert set(BloqJsonRpcOperator.template_fields) == {
        "bloq_conn_id",
        "node",
        "tls_fingerprint",
        "port",
        "path",
        "result_path",
        "result_conn_id",
        "method",
        "rpc_params",
        "batch",
    }


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"method": "m", "rpc_params": [1], "params": [2]}, "params"),
        ({"batch": ["m"], "rpc_params": [1]}, "rpc_params"),
        ({"batch": ["m"], "params": [1]}, "rpc_params"),
    ],
)
def test_parameters_that_would_be_dropped_are_refused(arguments: Any, field: str) -> None:
    with pytest.raises(BloqConfigurationError) as refused:
        operator("node-1", **arguments)
    assert refused.value.fields == (field,)


def test_a_call_whose_answer_was_lost_is_repeated_only_where_that_is_allowed(
    serve: Serve, connect: Connect, context: dict[str, Any]
) -> None:
    connect(NOWHERE, NOWHERE)

    def lose_the_first(connection: RawConnection, request: SeenRequest) -> None:
        if len(node.requests) % 2:
            connection.reset()
        else:
            connection.reply(
                200,
                json.dumps({"jsonrpc": "2.0", "id": json.loads(request.body)["id"], "result": 7}).encode(),
            )

    node = serve(lose_the_first)
    assert operator(node, method="avax.getTx", idempotent=True).execute(context) == 7
    assert len(node.requests) == 2
    with pytest.raises(BloqUnavailable):
        operator(node, method="avax.getTx").execute(context)
    assert len(node.requests) == 3


def test_port_and_path_are_templates(connect: Connect) -> None:
    connect(NOWHERE, NOWHERE)
    call = operator("node-1", method="m", port="{{ 8545 }}", path="/{{ 'rpc' }}")
    assert {"port", "path"} <= set(call.template_fields)
    call.port, call.path = "8545", "/rpc"
    assert call._rpc_options == {"tls_fingerprint": None, "port": 8545, "path": "/rpc"}
