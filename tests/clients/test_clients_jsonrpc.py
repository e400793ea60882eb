"""JSON-RPC against scripted nodes: which answer belongs to which call, and what is an answer at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_bloq.clients.jsonrpc import RpcCall
from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqConfigurationError,
    BloqError,
    BloqNotFound,
    BloqRateLimited,
    BloqRpcError,
    BloqUnavailable,
)
from tests.clients.both_ways import BothWays, OpenClients
from tests.support.raw_server import RawConnection, RawServer, SeenRequest, Serve

Answer = Callable[[Any], Any]

#: Of the services nothing is wanted here: what is called by its URL needs no token.
NOWHERE = "http://127.0.0.1:1"


class Node:
    """A scripted node and a client for it."""

    def __init__(self, server: RawServer, bloq: BothWays) -> None:
        self.server = server
        self.bloq = bloq
        self.rpc = bloq.rpc(server.url)

    @property
    def seen(self) -> list[Any]:
        """The bodies that arrived."""
        return [json.loads(request.body) for request in self.server.requests]


@pytest.fixture
def node(open_clients: OpenClients, serve: Serve) -> Callable[..., Node]:
    """Start a node that answers the parsed body of each request by a function, with a status."""

    def started(answer: Answer, status: int = 200) -> Node:
        def script(connection: RawConnection, request: SeenRequest) -> None:
            answered = answer(json.loads(request.body))
            if isinstance(answered, bytes):
                connection.reply(status, answered)
            else:
                connection.reply(status, json.dumps(answered).encode())

        server = serve(script)
        return Node(server, open_clients(NOWHERE))

    return started


def echo(call: Any) -> dict[str, Any]:
    """Answer a call with its method."""
    return {"jsonrpc": "2.0", "id": call["id"], "result": call["method"]}


def echo_all(body: Any) -> Any:
    return [echo(call) for call in body] if isinstance(body, list) else echo(body)


def failing(code: int, message: str, data: Any = None) -> Answer:
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return lambda body: {"jsonrpc": "2.0", "id": body["id"], "error": error}


def test_a_call_has_method_params_and_id(node: Callable[..., Node]) -> None:
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


def test_answers_are_matched_by_id_whatever_their_order(node: Callable[..., Node]) -> None:
    made = node(lambda body: echo_all(body)[::-1])
    assert made.rpc.batch(["a", "b", "c"]) == ["a", "b", "c"]


def test_a_batch_is_split_by_the_limit(node: Callable[..., Node]) -> None:
    made = node(echo_all)
    methods = [f"m{number}" for number in range(500)]
    assert made.rpc.batch(methods, limit=120) == methods
    assert [len(body) for body in made.seen] == [120, 120, 120, 120, 20]
    assert len({call["id"] for body in made.seen for call in body}) == 500


def test_a_batch_of_one_is_sent_as_a_call_and_one_of_none_not_at_all(node: Callable[..., Node]) -> None:
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
    node: Callable[..., Node], refusal: Answer
) -> None:
    made = node(at_most(4, refusal))
    methods = [f"m{number}" for number in range(20)]
    assert made.rpc.batch(methods, limit=16) == methods
    assert [len(body) for body in made.seen] == [16, 8, 4, 4, 4, 4, 4]


def test_a_node_that_takes_no_batches_at_all_is_asked_one_by_one(node: Callable[..., Node]) -> None:
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
    made = Node(server, open_clients(NOWHERE))
    assert made.rpc.batch(["a", "b", "c", "d", "e"]) == ["a", "b", "c", "d", "e"]
    assert [len(body) if isinstance(body, list) else 1 for body in made.seen] == [5, 2, 2, 1]


def test_a_single_call_that_is_too_large_is_an_error(node: Callable[..., Node]) -> None:
    with pytest.raises(BloqApiError, match="answered 413") as error:
        node(lambda _: b"", status=413).rpc.call("a")
    assert type(error.value) is BloqApiError


def test_errors_are_typed_with_code_message_and_data(node: Callable[..., Node]) -> None:
    with pytest.raises(BloqRpcError, match="eth_call: execution reverted") as error:
        node(failing(3, "execution reverted", {"reason": "0x"})).rpc.call("eth_call")
    assert (error.value.code, error.value.message, error.value.data, error.value.method) == (
        3,
        "execution reverted",
        {"reason": "0x"},
        "eth_call",
    )


def test_a_batch_raises_the_first_error_or_returns_all_in_their_places(node: Callable[..., Node]) -> None:
    def answer(body: Any) -> Any:
        return [failing(-32601, "no")(call) if call["method"] == "bad" else echo(call) for call in body]

    made = node(answer)
    with pytest.raises(BloqRpcError, match="bad"):
        made.rpc.batch(["a", "bad", "c"])
    first, bad, last = made.rpc.batch(["a", "bad", "c"], return_errors=True)
    assert (first, last) == ("a", "c")
    assert isinstance(bad, BloqRpcError)
    assert (bad.code, bad.method) == (-32601, "bad")


def test_an_error_for_the_whole_batch_is_raised(node: Callable[..., Node]) -> None:
    whole = {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "parse error"}}
    for answer in (whole, [whole]):
        with pytest.raises(BloqRpcError, match="parse error"):
            node(lambda _, answer=answer: answer).rpc.batch(["a", "b"], return_errors=True)


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_errors_of_bitcoin_come_with_a_status_of_their_own(node: Callable[..., Node], status: int) -> None:
    def answer(body: Any) -> Any:
        return {
            "result": None,
            "error": {"code": -8, "message": "Block height out of range"},
            "id": body["id"],
        }

    with pytest.raises(BloqRpcError, match="out of range") as error:
        node(answer, status).rpc.call("getblockhash", [99])
    assert error.value.code == -8


def test_a_result_of_null_is_a_result(node: Callable[..., Node]) -> None:
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


def test_a_null_id_is_allowed_for_an_error_to_a_single_call(node: Callable[..., Node]) -> None:
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
def test_answers_that_do_not_belong_to_the_calls_are_never_given_out(
    node: Callable[..., Node], answer: Answer
) -> None:
    with pytest.raises(BloqUnavailable, match="do not belong to the calls"):
        node(answer).rpc.batch(["a", "b"], return_errors=True)


@pytest.mark.parametrize("id_", [0, 2_000_000, "1", None, 1.5, [1], {"a": 1}])
def test_a_single_answer_has_the_id_of_its_call(node: Callable[..., Node], id_: Any) -> None:
    with pytest.raises(BloqUnavailable, match=r"do not belong|no JSON-RPC"):
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
def test_what_is_no_json_rpc_is_unavailable(node: Callable[..., Node], body: bytes) -> None:
    with pytest.raises(BloqUnavailable, match="no JSON-RPC answer") as error:
        node(lambda _: body).rpc.call("a")
    assert (error.value.status, error.value.method) == (200, "POST")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, BloqApiError), (404, BloqNotFound), (500, BloqUnavailable), (502, BloqUnavailable)],
)
def test_a_gateways_error_page_is_no_json_rpc_error(
    node: Callable[..., Node], status: int, kind: type[BloqError]
) -> None:
    with pytest.raises(BloqError, match=f"answered {status}") as error:
        node(lambda _: {"error": "upstream failed"}, status).rpc.call("a")
    assert type(error.value) is kind


@pytest.mark.parametrize("page", [{"error": "no"}, {"error": {"code": 1, "message": "x"}}])
def test_an_error_without_id_is_no_answer(node: Callable[..., Node], page: Any) -> None:
    with pytest.raises(BloqUnavailable, match="no JSON-RPC answer"):
        node(lambda _: page).rpc.call("a")


def test_an_error_that_is_a_text_is_kept(node: Callable[..., Node]) -> None:
    with pytest.raises(BloqRpcError, match="whatever") as error:
        node(lambda body: {"id": body["id"], "error": "whatever"}).rpc.call("a")
    assert error.value.code is None


def test_a_rate_limit_in_the_words_of_json_rpc_is_one(node: Callable[..., Node]) -> None:
    made = node(failing(-32005, "daily limit"), status=429)
    with pytest.raises(BloqRateLimited):
        made.rpc.call("eth_chainId")
    assert len(made.seen) == 5


def test_big_numbers_stay_exact(node: Callable[..., Node]) -> None:
    number = 2**256 - 1
    made = node(lambda body: {"id": body["id"], "result": [number, body["params"][0]]})
    assert made.rpc.call("a", [number]) == [number, number]


def lost_first(open_clients: OpenClients, serve: Serve) -> Node:
    """Start a node whose first answer never comes."""

    def script(connection: RawConnection, request: SeenRequest) -> None:
        if len(server.requests) == 1:
            connection.reset()
        else:
            connection.reply(200, json.dumps(echo_all(json.loads(request.body))).encode())

    server = serve(script)
    return Node(server, open_clients(NOWHERE))


READS = [
    "eth_blockNumber",
    "eth_call",
    "eth_chainId",
    "eth_estimateGas",
    "eth_feeHistory",
    "eth_gasPrice",
    "eth_getBalance",
    "eth_getBlockByNumber",
    "eth_getLogs",
    "eth_getTransactionReceipt",
    "eth_syncing",
    "net_version",
    "web3_clientVersion",
    "trace_block",
    "debug_traceTransaction",
    "txpool_status",
    "info.getNodeVersion",
    "getblock",
    "getblockchaininfo",
    "getrawtransaction",
    "decoderawtransaction",
    "estimatesmartfee",
]
WRITES = [
    "eth_sendRawTransaction",
    "eth_sendTransaction",
    "eth_getFilterChanges",
    "eth_newFilter",
    "eth_sign",
    "personal_sign",
    "sendrawtransaction",
    "sendtoaddress",
    "getnewaddress",
    "getrawchangeaddress",
    "generatetoaddress",
    "anvil_mine",
    "evm_mine",
    "debug_setHead",
    "submitblock",
    "eth_callMany!",
    "EVIL_eth_call",
]


@pytest.mark.parametrize("method", READS)
def test_what_only_reads_is_told_from_what_writes(method: str) -> None:
    assert RpcCall(method).only_reads


@pytest.mark.parametrize("method", WRITES)
def test_what_may_write_is_told_from_what_reads(method: str) -> None:
    assert not RpcCall(method).only_reads


def test_a_read_whose_answer_was_lost_is_sent_again(open_clients: OpenClients, serve: Serve) -> None:
    made = lost_first(open_clients, serve)
    assert made.rpc.call("eth_blockNumber") == "eth_blockNumber"
    assert len(made.seen) == 2
    assert made.bloq.pauses == [0.5]


def test_a_write_whose_answer_was_lost_is_not_sent_again(open_clients: OpenClients, serve: Serve) -> None:
    made = lost_first(open_clients, serve)
    with pytest.raises(BloqUnavailable) as lost:
        made.rpc.call("eth_sendRawTransaction", ["0x00"])
    assert lost.value.acted
    assert len(made.seen) == 1


def test_a_batch_with_one_write_is_not_sent_again(open_clients: OpenClients, serve: Serve) -> None:
    made = lost_first(open_clients, serve)
    with pytest.raises(BloqUnavailable):
        made.rpc.batch(["eth_blockNumber", ["eth_sendRawTransaction", ["0x00"]]])
    assert len(made.seen) == 1


def test_the_caller_knows_best_what_may_be_repeated(open_clients: OpenClients, serve: Serve) -> None:
    made = lost_first(open_clients, serve)
    assert made.rpc.call("my_read", repeatable=True) == "my_read"
    made = lost_first(open_clients, serve)
    with pytest.raises(BloqUnavailable):
        made.rpc.call("eth_blockNumber", repeatable=False)


@pytest.mark.parametrize(
    ("short", "call"),
    [
        ("m", RpcCall("m")),
        (["m"], RpcCall("m")),
        (["m", [1]], RpcCall("m", [1])),
        (("m", {"a": 1}), RpcCall("m", {"a": 1})),
        ({"method": "m"}, RpcCall("m")),
        ({"method": "m", "params": None}, RpcCall("m")),
        ({"method": "m", "params": [1], "id": 7, "jsonrpc": "2.0"}, RpcCall("m", [1])),
        (RpcCall("m", [1]), RpcCall("m", [1])),
    ],
)
def test_the_short_forms_of_a_call(short: Any, call: RpcCall) -> None:
    assert RpcCall.of(short) == call


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        7,
        "",
        " ",
        [],
        ["m", 1],
        ["m", [1], 2],
        {"params": []},
        {"method": 7},
        ["m", "params"],
        {"method": "m", "params": "x"},
    ],
)
def test_what_is_no_call_is_refused_before_anything_is_sent(node: Callable[..., Node], wrong: Any) -> None:
    made = node(echo_all)
    with pytest.raises(BloqConfigurationError, match="no JSON-RPC call"):
        made.rpc.batch([wrong])
    assert made.seen == []


@pytest.mark.parametrize("calls", ["eth_chainId", {"method": "eth_chainId"}])
def test_a_batch_is_a_list(node: Callable[..., Node], calls: Any) -> None:
    made = node(echo_all)
    with pytest.raises(BloqConfigurationError, match="batch"):
        made.rpc.batch(calls)
    assert made.seen == []


@pytest.mark.parametrize("limit", [0, -1, 2.5, "50", None])
def test_a_limit_is_a_whole_number(node: Callable[..., Node], limit: Any) -> None:
    with pytest.raises(BloqConfigurationError, match="limit"):
        node(echo_all).rpc.batch(["a"], limit=limit)


@pytest.mark.parametrize("params", [[{1, 2}], [b"x"], [float("nan")], {"a": object()}])
def test_params_that_json_does_not_know_are_named(node: Callable[..., Node], params: Any) -> None:
    with pytest.raises(BloqConfigurationError, match="cannot be written as JSON"):
        node(echo_all).rpc.call("a", params)


@pytest.mark.parametrize("url", ["https://", "ftp://x/", "https://a b/", "https://user:pw@host/", "x://"])
def test_a_url_that_cannot_be_used_is_refused_without_quoting_it(open_clients: OpenClients, url: str) -> None:
    bloq = open_clients(NOWHERE)
    with pytest.raises(BloqConfigurationError, match="no URL that can be used") as error:
        bloq.rpc(url).call("a")
    assert "pw" not in str(error.value)


def test_port_path_and_pin_need_what_they_belong_to(open_clients: OpenClients) -> None:
    bloq = open_clients(NOWHERE)
    for options in ({"port": 1}, {"path": "/x"}):
        with pytest.raises(BloqConfigurationError, match="into the URL"):
            bloq.rpc("http://127.0.0.1:2/", **options).call("a")
    with pytest.raises(BloqConfigurationError, match="no certificate with http"):
        bloq.rpc("http://127.0.0.1:2/", pin="0" * 64).call("a")
