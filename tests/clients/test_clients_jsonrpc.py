"""JSON-RPC against scripted nodes: which answer belongs to which call, and what is an answer at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqError,
    BloqNotFound,
    BloqRateLimited,
    BloqRpcError,
    BloqUnavailable,
)
from tests.clients.both_ways import OpenClients
from tests.clients.scripted_node import NOWHERE, Answer, ScriptedNode, StartNode, echo, echo_all
from tests.support.raw_server import RawConnection, SeenRequest, Serve


def failing(code: int, message: str, data: Any = None) -> Answer:
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return lambda body: {"jsonrpc": "2.0", "id": body["id"], "error": error}


def test_a_call_has_method_params_and_id(node: StartNode) -> None:
    made = node(echo_all)
    assert made.rpc.call("eth_getBalance", ["0x0", "latest"]) == "eth_getBalance"
    assert made.rpc.call("eth_chainId") == "eth_chainId"
    assert made.rpc.call("named", {"a": 1}) == "named"
    assert [(call["jsonrpc"], call["method"], call["params"]) for call in made.seen] == [
        ("2.0", "eth_getBalance", ["0x0", "latest"]),
        ("2.0", "eth_chainId", []),
        ("2.0", "named", {"a": 1}),
    ]
    assert len({call["id"] for call in made.seen}) == 3
    assert all(request.headers["content-type"] == "application/json" for request in made.server.requests)
    assert all(request.method == "POST" for request in made.server.requests)


def test_answers_are_matched_by_id_whatever_their_order(node: StartNode) -> None:
    made = node(lambda body: echo_all(body)[::-1])
    assert made.rpc.batch(["a", "b", "c"]) == ["a", "b", "c"]


def test_a_batch_is_split_by_the_limit(node: StartNode) -> None:
    made = node(echo_all)
    methods = [f"m{number}" for number in range(500)]
    assert made.rpc.batch(methods, limit=120) == methods
    assert [len(body) for body in made.seen] == [120, 120, 120, 120, 20]
    assert len({call["id"] for body in made.seen for call in body}) == 500


def test_a_batch_of_one_is_sent_as_a_call_and_one_of_none_not_at_all(node: StartNode) -> None:
    made = node(echo_all)
    assert made.rpc.batch(["a"]) == ["a"]
    assert made.rpc.batch([]) == []
    assert made.rpc.batch(iter(())) == []
    assert [type(body) for body in made.seen] == [dict]


def at_most(limit: int, refusal: Answer) -> Answer:
    def answer(body: Any) -> Any:
        return refusal(body) if isinstance(body, list) and len(body) > limit else echo_all(body)

    return answer


@pytest.mark.parametrize(
    "refusal",
    [
        lambda _: {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "batch too large"}},
        lambda _: {
            "jsonrpc": "2.0",
            "id": None,
            "error": {"code": -32005, "message": "Batch size exceeds 4"},
        },
        lambda _: [{"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Request too large"}}],
    ],
    ids=["error", "other words", "list of one error"],
)
def test_a_node_that_refuses_so_many_calls_is_asked_with_half_of_them(
    node: StartNode, refusal: Answer
) -> None:
    made = node(at_most(4, refusal))
    methods = [f"m{number}" for number in range(20)]
    assert made.rpc.batch(methods, limit=16) == methods
    assert [len(body) for body in made.seen] == [16, 8, 4, 4, 4, 4, 4]


def test_a_node_that_takes_no_batches_at_all_is_asked_one_by_one(node: StartNode) -> None:
    no_batches = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "batches are disabled"}}
    made = node(at_most(1, lambda _: no_batches))
    assert made.rpc.batch(["a", "b", "c"]) == ["a", "b", "c"]


def test_413_halves_the_batch_as_well(open_clients: OpenClients, serve: Serve) -> None:
    def script(connection: RawConnection, request: SeenRequest) -> None:
        body = json.loads(request.body)
        if isinstance(body, list) and len(body) > 2:
            connection.reply(413, b"<html>too large</html>")
        else:
            connection.reply(200, json.dumps(echo_all(body)).encode())

    server = serve(script)
    made = ScriptedNode(server, open_clients(NOWHERE))
    assert made.rpc.batch(["a", "b", "c", "d", "e"]) == ["a", "b", "c", "d", "e"]
    assert [len(body) if isinstance(body, list) else 1 for body in made.seen] == [5, 2, 2, 1]


def test_a_single_call_that_is_too_large_is_an_error(node: StartNode) -> None:
    with pytest.raises(BloqApiError, match="answered 413") as error:
        node(lambda _: b"", status=413).rpc.call("a")
    assert type(error.value) is BloqApiError


def test_errors_are_typed_with_code_message_and_data(node: StartNode) -> None:
    with pytest.raises(BloqRpcError, match="eth_call: execution reverted") as error:
        node(failing(3, "execution reverted", {"reason": "0x"})).rpc.call("eth_call")
    assert (error.value.code, error.value.message, error.value.data, error.value.method) == (
        3,
        "execution reverted",
        {"reason": "0x"},
        "eth_call",
    )


def test_a_batch_raises_the_first_error_or_returns_all_in_their_places(node: StartNode) -> None:
    def answer(body: Any) -> Any:
        return [failing(-32601, "no")(call) if call["method"] == "bad" else echo(call) for call in body]

    made = node(answer)
    with pytest.raises(BloqRpcError, match="bad"):
        made.rpc.batch(["a", "bad", "c"])
    first, bad, last = made.rpc.batch(["a", "bad", "c"], return_errors=True)
    assert (first, last) == ("a", "c")
    assert isinstance(bad, BloqRpcError)
    assert (bad.code, bad.method) == (-32601, "bad")


def test_an_error_for_the_whole_batch_is_raised(node: StartNode) -> None:
    whole = {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "parse error"}}
    for answer in (whole, [whole]):
        with pytest.raises(BloqRpcError, match="parse error"):
            node(lambda _, answer=answer: answer).rpc.batch(["a", "b"], return_errors=True)


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_errors_of_bitcoin_come_with_a_status_of_their_own(node: StartNode, status: int) -> None:
    def answer(body: Any) -> Any:
        return {
            "result": None,
            "error": {"code": -8, "message": "Block height out of range"},
            "id": body["id"],
        }

    with pytest.raises(BloqRpcError, match="out of range") as error:
        node(answer, status).rpc.call("getblockhash", [99])
    assert error.value.code == -8


def test_a_result_of_null_is_a_result(node: StartNode) -> None:
    assert node(lambda body: {"id": body["id"], "result": None, "error": None}).rpc.call("x") is None


def test_a_full_work_queue_is_waited_for(open_clients: OpenClients, serve: Serve) -> None:
    served: list[int] = []

    def script(connection: RawConnection, request: SeenRequest) -> None:
        served.append(1)
        if len(served) == 1:
            connection.reply(503, b"Work queue depth exceeded")
        else:
            connection.reply(200, json.dumps(echo(json.loads(request.body))).encode())

    bloq = open_clients(NOWHERE)
    assert bloq.rpc(serve(script).url).call("getblockcount") == "getblockcount"
    assert bloq.pauses == [0.5]


def test_a_null_id_is_allowed_for_an_error_to_a_single_call(node: StartNode) -> None:
    null = {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "parse error"}}
    with pytest.raises(BloqRpcError, match="parse error") as error:
        node(lambda _: null).rpc.call("a")
    assert error.value.method == "a"


@pytest.mark.parametrize(
    "answer",
    [
        lambda body: echo_all(body)[:-1],
        lambda body: [*echo_all(body)[:-1], echo_all(body)[0]],
        lambda body: [*echo_all(body), echo_all(body)[0]],
        lambda body: [*echo_all(body), {"id": 999_999, "result": "foreign"}],
        lambda body: [{**one, "id": one["id"] + 1_000_000} for one in echo_all(body)],
        lambda body: [{**one, "id": str(one["id"])} for one in echo_all(body)],
        lambda body: [{"result": one["result"]} for one in echo_all(body)],
        lambda body: [{**one, "id": None} for one in echo_all(body)],
        lambda body: echo_all(body)[0],
        lambda body: {"jsonrpc": "2.0", "id": None, "result": "all"},
    ],
    ids=[
        "missing",
        "twice",
        "one more",
        "foreign",
        "all foreign",
        "texts",
        "none",
        "null",
        "one",
        "result for all",
    ],
)
def test_answers_that_do_not_belong_to_the_calls_are_never_given_out(node: StartNode, answer: Answer) -> None:
    with pytest.raises(BloqUnavailable, match="do not match the calls"):
        node(answer).rpc.batch(["a", "b"], return_errors=True)


@pytest.mark.parametrize("id_", [0, 2_000_000, "1", None, 1.5, [1], {"a": 1}])
def test_a_single_answer_has_the_id_of_its_call(node: StartNode, id_: Any) -> None:
    with pytest.raises(BloqUnavailable, match=r"do not match|not a JSON-RPC"):
        node(lambda _: {"jsonrpc": "2.0", "id": id_, "result": "foreign"}).rpc.call("a")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"7",
        b"[]",
        b"[7]",
        b"[[]]",
        b"{}",
        b'{"id": 1}',
        b'{"jsonrpc"',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_rpc_is_unavailable(node: StartNode, body: bytes) -> None:
    with pytest.raises(BloqUnavailable, match="not a JSON-RPC response") as error:
        node(lambda _: body).rpc.call("a")
    assert (error.value.status, error.value.method) == (200, "POST")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, BloqApiError), (404, BloqNotFound), (500, BloqUnavailable), (502, BloqUnavailable)],
)
def test_a_gateways_error_page_is_no_json_rpc_error(
    node: StartNode, status: int, kind: type[BloqError]
) -> None:
    with pytest.raises(BloqError, match=f"answered {status}") as error:
        node(lambda _: {"error": "upstream failed"}, status).rpc.call("a")
    assert type(error.value) is kind


@pytest.mark.parametrize("page", [{"error": "no"}, {"error": {"code": 1, "message": "x"}}])
def test_an_error_without_id_is_no_answer(node: StartNode, page: Any) -> None:
    with pytest.raises(BloqUnavailable, match="not a JSON-RPC response"):
        node(lambda _: page).rpc.call("a")


def test_an_error_that_is_a_text_is_kept(node: StartNode) -> None:
    with pytest.raises(BloqRpcError, match="whatever") as error:
        node(lambda body: {"id": body["id"], "error": "whatever"}).rpc.call("a")
    assert error.value.code is None


def test_a_rate_limit_in_the_words_of_json_rpc_is_one(node: StartNode) -> None:
    made = node(failing(-32005, "daily limit"), status=429)
    with pytest.raises(BloqRateLimited):
        made.rpc.call("eth_chainId")
    assert len(made.seen) == 5


def test_big_numbers_stay_exact(node: StartNode) -> None:
    number = 2**256 - 1
    made = node(lambda body: {"id": body["id"], "result": [number, body["params"][0]]})
    assert made.rpc.call("a", [number]) == [number, number]
