"""From odd answers to typed errors."""

from __future__ import annotations

import json
import pickle
import traceback
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqNotFound,
    BloqQuotaExceeded,
    BloqRateLimited,
    BloqTokenRejected,
    BloqUnavailable,
)
from airflow_provider_bloq.flow.retry import NO_RETRIES
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq, LocalBloqOptions
from tests.clients.both_ways import BothWays, OpenClients
from tests.support.raw_server import RawConnection, SeenRequest, Serve

NODE = {"id": "node-1", "chain": "eth", "network": "mainnet", "state": "started", "ip": "127.0.0.1"}


@pytest.fixture
def answered(open_clients: OpenClients, serve: Serve) -> Any:
    """Open clients of a service that answers everything alike, but hands out tokens."""

    def opened(status: int, body: bytes = b"", **headers: str) -> BothWays:
        def script(connection: RawConnection, request: SeenRequest) -> None:
            if request.target == "/auth/token":
                connection.reply(200, b'{"accessToken": "a-token"}')
            else:
                connection.reply(status, body, **headers)

        return open_clients(serve(script).url)

    return opened


@pytest.mark.parametrize("status", [200, 201])
def test_success_statuses_are_those_of_the_official_client(answered: Any, status: int) -> None:
    bloq = answered(status, json.dumps([NODE]).encode())
    assert [node.id for node in bloq.nodes.list()] == ["node-1"]
    bloq.clusters.set_alias("cluster-1", "x")


def test_no_content_is_success_where_nothing_is_asked_for(answered: Any) -> None:
    bloq = answered(204)
    assert bloq.nodes.delete("node-1") is None
    assert bloq.clusters.delete("cluster-1") is None
    assert bloq.clusters.update("cluster-1", capacity=2) is None
    assert bloq.clusters.abort_update("cluster-1") is None
    assert bloq.clusters.set_alias("cluster-1", "x") is None
    with pytest.raises(BloqUnavailable, match="did not return a list"):
        bloq.nodes.list()


@pytest.mark.parametrize("status", [202, 203, 206, 301, 302, 307])
def test_any_other_status_is_no_success(answered: Any, status: int) -> None:
    bloq = answered(status, json.dumps([NODE]).encode(), Location="/elsewhere")
    with pytest.raises(BloqApiError, match=f"answered {status}"):
        bloq.nodes.list()


@pytest.mark.parametrize("shape", ["problem", "code"])
def test_both_shapes_of_error_bodies_are_read(open_clients: OpenClients, shape: Any) -> None:
    with LocalBloq(LocalBloqOptions(upstreams={}, error_shape=shape, node_quota=0)) as service:
        bloq = open_clients(service)
        with pytest.raises(BloqNotFound) as missing:
            bloq.nodes.get("node-0")
        assert (missing.value.status, missing.value.code) == (404, "NodeNotFound")
        assert missing.value.detail == "There is no such node"
        assert missing.value.title == ("Not Found" if shape == "problem" else None)
        assert missing.value.method == "GET"
        assert missing.value.url == f"{service.nodes_url}/users/me/nodes/node-0"
        with pytest.raises(BloqQuotaExceeded):
            bloq.nodes.create(service.service_id("btc"))
        assert service.counters().mints == 1


@pytest.mark.parametrize("header", ["X-Request-Id", "x-amzn-RequestId", "X-Correlation-ID", "Request-Id"])
def test_the_id_of_the_request_is_kept(answered: Any, header: str) -> None:
    with pytest.raises(BloqApiError) as error:
        answered(400, b"{}", **{header: "req-7"}).nodes.list()
    assert error.value.request_id == "req-7"


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable"),
    [
        (400, b"{}", BloqApiError, False),
        (404, b"", BloqNotFound, False),
        (408, b"", BloqUnavailable, True),
        (409, b"{}", BloqApiError, False),
        (422, b"[]", BloqApiError, False),
        (425, b"", BloqUnavailable, True),
        (429, b"", BloqRateLimited, True),
        (429, b'{"code": "LimitExceeded"}', BloqRateLimited, True),
        (403, b'{"code": "LimitExceeded"}', BloqQuotaExceeded, False),
        (403, b'{"code": "Forbidden"}', BloqApiError, False),
        (500, b"null", BloqUnavailable, True),
        (503, b"<html>", BloqUnavailable, True),
        (599, b'{"code": 5, "title": [], "detail": null}', BloqUnavailable, True),
    ],
)
def test_statuses_have_their_types(
    answered: Any, status: int, body: bytes, kind: type[BloqApiError], retryable: bool
) -> None:
    with pytest.raises(BloqApiError) as error:
        answered(status, body).nodes.list()
    assert type(error.value) is kind
    assert (error.value.retryable, error.value.status) == (retryable, status)


def test_a_token_that_is_refused_twice_is_told_as_such(answered: Any) -> None:
    for status, body in ((401, b"jwt expired"), (403, b"")):
        with pytest.raises(BloqTokenRejected, match=f"refuses .{status}. even an access token"):
            answered(status, body).nodes.list()


@pytest.mark.parametrize(
    "body",
    [b"<html><body>Welcome to the hotel</body></html>", b'[{"id": "node', b"\xff\xfe\xfa", b"[" * 100_000],
    ids=["page", "truncated", "no text", "deep"],
)
def test_a_success_that_is_no_json_names_the_likely_cause(answered: Any, body: bytes) -> None:
    bloq = answered(200, body, Content_Type="text/html")
    with pytest.raises(BloqUnavailable, match=r"no JSON \(text/html, .*proxy in between") as error:
        bloq.nodes.list()
    assert error.value.retryable
    assert "hotel" not in str(error.value)


@pytest.mark.parametrize("body", [b"{}", b'{"nodes": []}', b"7", b'"x"', b"null"])
def test_a_list_that_is_none_is_an_error(answered: Any, body: bytes) -> None:
    with pytest.raises(BloqUnavailable, match="/users/me/nodes did not return a list"):
        answered(200, body).nodes.list()


@pytest.mark.parametrize("body", [b"[7]", b"[{}]", b'[{"id": 7}]', b'[{"id": ""}]'])
def test_a_node_without_id_is_an_error(answered: Any, body: bytes) -> None:
    with pytest.raises(BloqUnavailable, match="returned a node without an id"):
        answered(200, body).nodes.list()


def test_pages_of_a_proxy_and_broken_answers_of_the_real_service(service: LocalBloq, bloq: BothWays) -> None:
    service.add_fault(Fault(kind=FaultKind.HTML, service="nodes", status=200))
    with pytest.raises(BloqUnavailable, match="no JSON"):
        bloq.nodes.list()
    service.add_fault(Fault(kind=FaultKind.TRUNCATED_JSON, service="nodes"))
    with pytest.raises(BloqUnavailable):
        bloq.nodes.list()
    assert bloq.nodes.list() == []


def test_a_query_is_left_out_of_errors(answered: Any) -> None:
    with pytest.raises(BloqNotFound) as error:
        answered(404).nodes.logs("node-1", lines=12)
    assert "lines" not in str(error.value)
    assert str(error.value.url).endswith("/users/me/nodes/node-1/logs")


def test_errors_survive_a_pickle_with_their_fields(answered: Any) -> None:
    with pytest.raises(BloqRateLimited) as limit:
        answered(429, b'{"code": "Slow", "title": "t", "detail": "d"}', Retry_After="999").nodes.list()
    copy = pickle.loads(pickle.dumps(limit.value))
    assert type(copy) is BloqRateLimited
    assert (copy.args, vars(copy)) == (limit.value.args, vars(limit.value))
    assert (copy.retry_after, copy.code, copy.title, copy.detail, copy.status) == (
        999.0,
        "Slow",
        "t",
        "d",
        429,
    )


def test_what_a_service_says_is_quoted_in_part_only(answered: Any) -> None:
    with pytest.raises(BloqApiError) as error:
        answered(400, json.dumps({"code": "c" * 9999, "detail": "d" * 9999}).encode()).nodes.list()
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"null", b'{"accessToken": ""}', b'{"accessToken": "not one"}', b"<p>"]
)
def test_an_answer_of_accounts_without_token_is_told_without_its_body(
    open_clients: OpenClients, serve: Serve, body: bytes
) -> None:
    server = serve(lambda connection, _: connection.reply(200, body))
    with pytest.raises(BloqUnavailable, match="auth/token") as error:
        open_clients(server.url).nodes.list()
    assert "not one" not in str(error.value)


def test_what_accounts_answers_is_never_quoted(open_clients: OpenClients, serve: Serve) -> None:
    body = json.dumps({"code": "Bad", "detail": "you sent client-secret"}).encode()
    server = serve(lambda connection, _: connection.reply(400, body))
    with pytest.raises(BloqApiError, match="answered 400") as error:
        open_clients(server.url).nodes.list()
    assert "client-secret" not in repr(vars(error.value)) + str(error.value)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"accessToken": "hush-hush"}\r\n\r\n',
        b'HTTP/1.1 200 OK\r\n{"accessToken": "hush-hush"}\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{"accessToken": "hush-hush"}\r\n\r\n',
        b'HTTP/1.1 {"accessToken": "hush-hush"} OK\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nContent-Length: "hush-hush"\r\n\r\n',
    ],
    ids=["no status line", "no header", "no chunk", "no status", "no length"],
)
def test_what_accounts_answers_is_not_quoted_where_it_is_no_http_either(
    open_clients: OpenClients, serve: Serve, raw: bytes
) -> None:
    def script(connection: RawConnection, _: SeenRequest) -> None:
        connection.write(raw)
        connection.close()

    with pytest.raises(BloqUnavailable) as error:
        open_clients(serve(script).url, policy=NO_RETRIES).nodes.list()
    assert "hush" not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (Fault(kind=FaultKind.HTML, service="accounts", status=403), BloqUnavailable),
        (Fault(kind=FaultKind.LIMIT_EXCEEDED, service="accounts"), BloqQuotaExceeded),
    ],
    ids=["page", "limit"],
)
def test_a_403_of_accounts_that_is_not_about_the_client_keys_does_not_condemn_them(
    service: LocalBloq, bloq: BothWays, fault: Fault, raised: type[BloqApiError]
) -> None:
    service.add_fault(fault)
    with pytest.raises(raised, match="/auth/token answered 403"):
        bloq.nodes.list()
    assert bloq.nodes.list() == []


def test_a_refresh_token_that_only_meets_failures_is_given_up_for_the_client_keys(
    open_clients: OpenClients, serve: Serve
) -> None:
    grants: list[str] = []

    def script(connection: RawConnection, request: SeenRequest) -> None:
        if request.target != "/auth/token":
            refused = request.authorization == "Bearer token-1"
            connection.reply(401 if refused else 200, b"jwt expired" if refused else b"[]")
            return
        grants.append(json.loads(request.body)["grantType"])
        if grants[-1] == "refreshToken":
            connection.reply(500, b'{"code": "InternalError", "message": "jwt malformed"}')
        else:
            reply = {"accessToken": f"token-{len(grants)}", "refreshToken": "refresh"}
            connection.reply(200, json.dumps(reply).encode())

    bloq = open_clients(serve(script).url)
    assert bloq.nodes.list() == []
    assert grants == ["clientCredentials", "refreshToken", "clientCredentials"]
    assert bloq.pauses == []
