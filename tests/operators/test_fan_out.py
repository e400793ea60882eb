"""``BloqFanOutOperator``: many calls in one task; in batches, several at a time, results in their order."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import ObjectStoragePath

from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqCallsFailed,
    BloqConfigurationError,
    BloqResultTooLarge,
    BloqRpcError,
)
from airflow_provider_bloq.hooks import retries
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.operators.jsonrpc import BloqFanOutOperator, outcomes_of_all
from airflow_provider_bloq.rpc.client import RpcCall
from airflow_provider_bloq.testing.anvil import Anvil
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from airflow_provider_bloq.testing.local.faults import Fault, FaultKind
from tests.hooks.conftest import Connect, new_keys
from tests.operators.conftest import ServeNode
from tests.support.raw_server import RawServer
from tests.support.shared_chain import SharedChain


def squared(call: Any) -> dict[str, Any]:
    """Answer a call with the square of its parameter; one with a negative parameter with an error."""
    (number,) = call["params"]
    answer = {"jsonrpc": "2.0", "id": call["id"]}
    if number < 0:
        return {**answer, "error": {"code": -32602, "message": f"{number} is negative"}}
    return {**answer, "result": number**2}


def square_all(body: Any) -> Any:
    return [squared(call) for call in body] if isinstance(body, list) else squared(body)


def fan_out(node: Any, numbers: Any, **arguments: Any) -> Any:
    params = [[number] for number in numbers] if isinstance(numbers, range | list) else numbers
    url = getattr(node, "url", node)
    return BloqFanOutOperator(task_id="squares", node=url, method="square", params_list=params, **arguments)


def many(node: str, **arguments: Any) -> Any:
    return BloqFanOutOperator(task_id="many", node=node, **arguments)


def sizes(node: RawServer) -> list[int]:
    """Return how many calls were in each request."""
    bodies = [json.loads(request.body) for request in node.requests]
    return [len(body) if isinstance(body, list) else 1 for body in bodies]


@pytest.mark.parametrize("concurrency", [1, 4, 1000])
def test_five_thousand_calls_go_out_in_batches_and_come_back_in_order(
    serve_node: ServeNode, context: dict[str, Any], concurrency: int
) -> None:
    node = serve_node(square_all)
    operator = fan_out(node, range(5000), batch_size=100, concurrency=concurrency)
    assert operator.execute(context) == [number**2 for number in range(5000)]
    assert sizes(node) == [100] * 50


@pytest.mark.parametrize(
    ("calls", "batch_size", "requests"), [(0, 3, []), (1, 3, [1]), (2, 3, [2]), (3, 3, [3]), (4, 3, [1, 3])]
)
def test_the_last_batch_is_what_is_left(
    serve_node: ServeNode, context: dict[str, Any], calls: int, batch_size: int, requests: list[int]
) -> None:
    node = serve_node(square_all)
    squares = fan_out(node, range(calls), batch_size=batch_size).execute(context)
    assert squares == [number**2 for number in range(calls)]
    assert sorted(sizes(node)) == requests


@pytest.mark.anvil
def test_balances_of_many_addresses_are_read_off_a_real_chain(
    connected_chains: LocalBloq, context: dict[str, Any]
) -> None:
    hook = BloqHook()
    node = hook.nodes.create(connected_chains.service_id("eth"))
    created = {**node.public(), "tls_fingerprint": connected_chains.node_fingerprint(node.id)}
    addresses = [f"0x{0xB10C << 144 | number:040x}" for number in range(240)]
    wealth = {0: 1000, 7: 1007, 239: 1239}
    hook.rpc(created).batch(
        [["anvil_setBalance", [addresses[index], hex(wei)]] for index, wei in wealth.items()]
    )
    connected_chains.reset_counters()
    operator: Any = BloqFanOutOperator(
        task_id="balances",
        node=created,
        method="eth_getBalance",
        params_list=[[address, "latest"] for address in addresses],
        batch_size=25,
    )
    balances = operator.execute(context)
    assert {index: int(balance, 16) for index, balance in enumerate(balances) if balance != "0x0"} == wealth
    counters = connected_chains.counters()
    assert counters.calls["rpc POST /"] == 10
    assert counters.calls["nodes GET /users/me/nodes/{id}"] == 1
    assert counters.rpc_calls[node.id] == {"eth_getBalance": 240}


def test_different_calls_are_given_as_such(serve_node: ServeNode, context: dict[str, Any]) -> None:
    node = serve_node(square_all)
    calls = [["square", [3]], {"method": "square", "params": [4]}]
    operator: Any = BloqFanOutOperator(task_id="squares", node=node.url, calls=calls)
    assert operator.execute(context) == [9, 16]


@dataclass
class Meeting:
    """A node that answers only once so many requests are under way; counts the most there ever were."""

    size: int
    under_way: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.size)

    def __call__(self, body: Any) -> Any:
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        self.barrier.wait()
        with self.lock:
            self.under_way -= 1
        return square_all(body)


def test_no_more_requests_are_under_way_than_wanted(serve_node: ServeNode, context: dict[str, Any]) -> None:
    meeting = Meeting(size=3)
    operator = fan_out(serve_node(meeting), range(24), batch_size=2, concurrency=3)
    assert operator.execute(context) == [number**2 for number in range(24)]
    assert meeting.most == 3


def test_results_stand_in_order_though_answers_come_out_of_it(
    serve_node: ServeNode, context: dict[str, Any]
) -> None:
    later_is_answered = threading.Event()

    def slow_first(body: Any) -> Any:
        if body[0]["params"] == [0]:
            later_is_answered.wait()
        elif body[0]["params"] == [6]:
            later_is_answered.set()
        return square_all(body)

    operator = fan_out(serve_node(slow_first), range(8), batch_size=2, concurrency=2)
    assert operator.execute(context) == [number**2 for number in range(8)]


def test_a_node_that_refuses_large_batches_is_asked_with_smaller_ones_from_then_on(
    serve_node: ServeNode, context: dict[str, Any]
) -> None:
    def refusing(body: Any) -> Any:
        if len(body) > 20:
            return {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "batch too large"}}
        return square_all(body)

    node = serve_node(refusing)
    operator = fan_out(node, range(300), batch_size=60, concurrency=1)
    assert operator.execute(context) == [number**2 for number in range(300)]
    # Learned by two refusals, once and for all.
    assert sizes(node) == [60, 30, *[15] * 20]


def test_calls_that_fail_fail_the_task_once_all_are_made(
    serve_node: ServeNode, context: dict[str, Any]
) -> None:
    node = serve_node(square_all)
    with pytest.raises(BloqCallsFailed) as failed:
        fan_out(node, [0, -1, 2, -3, -4, 5, -6], batch_size=2).execute(context)
    assert str(failed.value) == (
        "4 of 7 calls failed: call 1, square: -1 is negative (code -32602); "
        "call 3, square: -3 is negative (code -32602); call 4, square: -4 is negative (code -32602); …"
    )
    assert [(index, error.message) for index, error in failed.value.failures] == [
        (index, f"-{index} is negative") for index in (1, 3, 4, 6)
    ]
    assert isinstance(failed.value, BloqRpcError)
    assert (failed.value.total, failed.value.code) == (7, -32602)
    assert sum(sizes(node)) == 7


def test_or_they_are_listed_with_what_the_others_gave(serve_node: ServeNode, context: dict[str, Any]) -> None:
    node = serve_node(square_all)
    given = fan_out(node, [0, -1, 2, -3], batch_size=3, on_error="list").execute(context)
    assert given == json.loads(json.dumps(given))
    assert given["results"] == [0, None, 4, None]
    assert given["errors"] == [
        {"index": 1, "code": -32602, "message": "-1 is negative", "data": None, "method": "square"},
        {"index": 3, "code": -32602, "message": "-3 is negative", "data": None, "method": "square"},
    ]
    assert fan_out(node, [1], on_error="list").execute(context) == {"results": [1], "errors": []}


def test_a_filter_takes_what_is_wanted_of_each_result_and_of_no_error(
    serve_node: ServeNode, context: dict[str, Any]
) -> None:
    operator = fan_out(serve_node(square_all), [2, -1, 3], response_filter="builtins:str", on_error="list")
    assert operator.execute(context)["results"] == ["4", None, "9"]


@pytest.mark.parametrize("on_error", ["raise", "list"])
def test_a_request_that_fails_as_a_whole_ends_the_task_and_nothing_more_is_sent(
    serve_node: ServeNode, context: dict[str, Any], on_error: str
) -> None:
    def failing(body: Any) -> Any:
        return b"<html>" if body[0]["params"] == [4] else square_all(body)

    # A page instead of JSON; with 400, since with 200 a proxy would be suspected and asked again.
    node = serve_node(failing, 400)
    with pytest.raises(BloqApiError, match="answered 400"):
        fan_out(node, range(20), batch_size=2, concurrency=1, on_error=on_error).execute(context)
    assert sizes(node) == [2, 2, 2]


def test_what_a_filter_raises_is_the_authors_own_and_ends_the_task(
    serve_node: ServeNode, context: dict[str, Any]
) -> None:
    node = serve_node(square_all)
    with pytest.raises(TypeError, match="len"):
        fan_out(node, range(20), batch_size=2, concurrency=1, response_filter="builtins:len").execute(context)
    assert sizes(node) == [2]


@pytest.mark.parametrize(
    ("calls", "told"),
    [
        (1000, [(done, 1000) for done in range(100, 1001, 100)]),
        (30, [(10, 30), (20, 30), (30, 30)]),
        (5, [(5, 5)]),
        (0, []),
    ],
)
async def test_progress_is_told_ten_times_at_most(
    serve_node: ServeNode, calls: int, told: list[tuple[int, int]]
) -> None:
    progress: list[tuple[int, int]] = []
    node = serve_node(square_all)
    async with BloqAsyncHook() as hook:
        await outcomes_of_all(
            hook.rpc(node.url),
            [RpcCall("square", [number]) for number in range(calls)],
            batch_size=10,
            concurrency=2,
            idempotent=None,
            pick=int,
            report=lambda done, total: progress.append((done, total)),
        )
    assert progress == told


def test_large_results_go_to_storage(serve_node: ServeNode, context: dict[str, Any], tmp_path: Path) -> None:
    node = serve_node(square_all)
    path = fan_out(node, range(100), result_limit=100, result_path=f"file://{tmp_path}/").execute(context)
    assert json.loads(ObjectStoragePath(path).read_text()) == [number**2 for number in range(100)]
    with pytest.raises(BloqResultTooLarge) as too_large:
        fan_out(node, range(100), result_limit=100).execute(context)
    assert isinstance(too_large.value, AirflowFailException)


@pytest.mark.anvil
def test_a_token_that_expires_in_the_midst_is_renewed(
    chain: Anvil, connect: Connect, context: dict[str, Any]
) -> None:
    options = LocalBloqOptions(upstreams={"eth": lambda: SharedChain(chain)}, access_token_seconds=60)
    with LocalBloq(options) as service:
        extra = {"ca_bundle": str(service.ca_bundle)}
        connect(service.accounts_url, service.nodes_url, new_keys(service), extra=extra)
        node = BloqHook().nodes.create(service.service_id("eth"))
        # Bloq's clock goes ahead of this machine's twice: the token is refused before it seems old.
        for after in (3, 9):
            service.add_fault(Fault(kind=FaultKind.CLOCK_JUMP, service="rpc", after=after, seconds=120))
        operator: Any = BloqFanOutOperator(
            task_id="chain_ids",
            node={**node.public(), "tls_fingerprint": service.node_fingerprint(node.id)},
            calls=["eth_chainId"] * 150,
            batch_size=10,
            concurrency=3,
        )
        assert operator.execute(context) == ["0x7a69"] * 150
        counters = service.counters()
        assert list(service.faults_struck().values()) == [1, 1]
        assert counters.mints + counters.refreshes == 3


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({}, "calls"),
        ({"method": "m"}, "calls"),
        ({"params_list": [[1]]}, "calls"),
        ({"method": "m", "params_list": [], "calls": []}, "calls"),
        ({"calls": [], "batch_size": 0}, "batch_size"),
        ({"calls": [], "concurrency": 0}, "concurrency"),
        ({"calls": [], "concurrency": "4"}, "concurrency"),
        ({"calls": [], "on_error": "ignore"}, "on_error"),
        ({"calls": [], "response_filter": len}, "response_filter"),
        ({"calls": [], "result_limit": -1}, "result_limit"),
    ],
)
def test_what_cannot_work_is_refused_when_the_dag_is_parsed(arguments: Any, field: str) -> None:
    with pytest.raises(BloqConfigurationError) as wrong:
        many("node-1", **arguments)
    assert wrong.value.fields == (field,)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"method": "m", "params_list": "[[1], [2]]"}, "params_list"),
        ({"method": "m", "params_list": {"a": 1}}, "params_list"),
        ({"method": "m", "params_list": 7}, "params_list"),
        ({"method": "m", "params_list": [[1], "0x1"]}, "params"),
        ({"calls": "['m']"}, "calls"),
        ({"calls": ["m", 7]}, "batch"),
        ({"calls": ["m"], "response_filter": "no_such:function"}, "response_filter"),
        ({"calls": ["m"], "result_path": "nowhere://bucket/key"}, "result_path"),
    ],
)
def test_what_is_no_list_of_calls_fails_the_task_before_the_first(
    serve_node: ServeNode, context: dict[str, Any], arguments: Any, field: str
) -> None:
    node = serve_node(square_all)
    with pytest.raises(BloqConfigurationError) as wrong:
        many(node.url, **arguments).execute(context)
    assert wrong.value.fields == (field,)
    assert isinstance(wrong.value, AirflowFailException)
    assert node.requests == []


#: Makes the installed core look like one that has no async operators: names are imported lazily from a table.
AN_OLDER_CORE = """
import airflow.sdk
from datetime import timedelta
del vars(airflow.sdk)["__lazy_imports"]["BaseAsyncOperator"]
from airflow_provider_bloq.operators._base import BaseAsyncOperator
from airflow_provider_bloq.operators.jsonrpc import BloqFanOutOperator
assert BaseAsyncOperator.__module__ == "airflow_provider_bloq.operators._base"
class Squares(BloqFanOutOperator):
    async def aexecute(self, context):
        return [number ** 2 for number in context["numbers"]]
for limit in (None, timedelta(minutes=1)):
    squares = Squares(task_id="squares", node="node-1", calls=[], execution_timeout=limit)
    assert squares.execute({"numbers": [2, 3]}) == [4, 9]
print("works")
"""


def test_without_async_operators_in_the_core_it_runs_all_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", AN_OLDER_CORE], capture_output=True, text=True, check=False)
    assert done.stdout.endswith("works\n"), done.stderr


def test_where_the_core_has_no_retry_policies_a_task_with_retries_says_so(
    serve_node: ServeNode,
    context: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    operator = fan_out(serve_node(square_all), [3], retries=2)
    monkeypatch.setattr(retries, "CORE_HAS_POLICIES", False)
    monkeypatch.setattr(retries, "_warned", set())
    operator.execute(context)
    operator.execute(context)
    assert caplog.text.count("has no retry policies") == 1
