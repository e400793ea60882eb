"""Each kind of fault as a client meets it, and which requests a fault strikes."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import pytest
import requests

from airflow_provider_bloq.testing.local import (
    Fault,
    FaultKind,
    LocalBloq,
    LocalBloqConfigurationError,
    LocalBloqNotFound,
)
from tests.local_service.service_caller import Caller

Start = Callable[..., LocalBloq]

_OWN = "/users/me/nodes"


@pytest.fixture
def token(caller: Caller) -> str:
    return caller.access_token()


def _create(caller: Caller, token: str) -> requests.Response:
    return caller.nodes("POST", _OWN, token, json={"serviceId": caller.bloq.service_id(), "authType": "jwt"})


def _node_count(caller: Caller, token: str) -> int:
    return len(caller.nodes("GET", _OWN, token).json())


def _raw_request(caller: Caller, token: str) -> socket.socket:
    """Send a create by hand and return the connection, so that what comes back can be read as bytes."""
    where = urlsplit(caller.bloq.nodes_url)
    connection = socket.create_connection((where.hostname or "", where.port or 0), timeout=10)
    body = json.dumps({"serviceId": caller.bloq.service_id(), "authType": "jwt"})
    head = (
        f"POST {_OWN} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {token}",
        f"Content-Length: {len(body)}",
    )
    connection.sendall("\r\n".join([*head, "", body]).encode())
    return connection


def test_a_rate_limit_is_429_with_retry_after_in_seconds(caller: Caller, token: str) -> None:
    for retry_after, header in ((None, None), (7, "7"), (0.5, "0.5")):
        caller.bloq.add_fault(Fault(kind=FaultKind.RATE_LIMIT, service="nodes", retry_after=retry_after))
        answer = caller.nodes("GET", _OWN, token)
        assert (answer.status_code, answer.headers.get("Retry-After")) == (429, header)


def test_retry_after_can_be_a_date_by_the_services_clock(start: Start) -> None:
    caller = Caller.of(start(clock=lambda: 1_000_000_000.0))
    caller.bloq.add_fault(Fault(kind=FaultKind.RATE_LIMIT, retry_after=9, retry_after_form="date"))
    header = caller.nodes("GET", "/").headers["Retry-After"]
    assert parsedate_to_datetime(header).timestamp() == 1_000_000_009


def test_an_error_status_has_the_usual_shape_and_the_request_is_not_carried_out(
    caller: Caller, token: str
) -> None:
    for status in (500, 502, 503, 504, 520):
        caller.bloq.add_fault(Fault(kind=FaultKind.STATUS, service="nodes", status=status, retry_after=2))
        answer = _create(caller, token)
        assert (answer.status_code, answer.json()["status"], answer.headers["Retry-After"]) == (
            status,
            status,
            "2",
        )
        assert _node_count(caller, token) == 0


def test_an_html_page_stands_in_for_json(caller: Caller, token: str) -> None:
    caller.bloq.add_fault(Fault(kind=FaultKind.HTML, service="nodes", status=502))
    answer = caller.nodes("GET", _OWN, token)
    assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert answer.text.startswith("<html>")


def test_limit_exceeded_is_403_with_its_code_and_nothing_is_done(caller: Caller, token: str) -> None:
    caller.bloq.add_fault(Fault(kind=FaultKind.LIMIT_EXCEEDED, service="nodes"))
    answer = _create(caller, token)
    assert (answer.status_code, answer.json()["code"]) == (403, "LimitExceeded")
    assert _node_count(caller, token) == 0


def test_a_good_token_is_refused_once_and_then_accepted(caller: Caller, token: str) -> None:
    caller.bloq.add_fault(Fault(kind=FaultKind.UNAUTHORIZED, service="nodes"))
    refused = _create(caller, token)
    assert (refused.status_code, refused.text) == (401, "jwt expired")
    assert _create(caller, token).status_code == 201
    assert _node_count(caller, token) == 1
    assert caller.bloq.counters().unauthorized == {"nodes": 1}


def test_a_reset_ends_the_connection_with_rst(caller: Caller, token: str) -> None:
    caller.bloq.add_fault(Fault(kind=FaultKind.RESET, service="nodes"))
    with _raw_request(caller, token) as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)
    assert _node_count(caller, token) == 0


def test_a_lost_response_is_a_closed_connection_after_the_create_was_carried_out(
    caller: Caller, token: str
) -> None:
    caller.bloq.add_fault(Fault(kind=FaultKind.LOST_RESPONSE, service="nodes", method="POST"))
    with _raw_request(caller, token) as connection:
        assert connection.recv(1) == b""
    assert _node_count(caller, token) == 1
    assert caller.bloq.counters().statuses["nodes dropped"] == 1


def test_a_stall_before_the_headers_lasts_until_the_fault_is_cleared(caller: Caller, token: str) -> None:
    fault_id = caller.bloq.add_fault(Fault(kind=FaultKind.STALL_HEADERS, service="nodes", method="POST"))
    with _raw_request(caller, token) as connection:
        _until_struck(caller.bloq, fault_id)
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)
        connection.settimeout(10)
        caller.bloq.clear_faults(fault_id)
        assert connection.recv(1) == b""
    assert _node_count(caller, token) == 0


def test_a_stalled_body_begins_after_the_create_was_carried_out_and_never_ends(
    caller: Caller, token: str
) -> None:
    fault_id = caller.bloq.add_fault(Fault(kind=FaultKind.STALL_BODY, service="nodes", method="POST"))
    with _raw_request(caller, token) as connection:
        received = b""
        while b"\r\n\r\n{" not in received:
            received += connection.recv(65_536)
        assert received.startswith(b"HTTP/1.1 201")
        assert _node_count(caller, token) == 1
        caller.bloq.clear_faults(fault_id)
        while more := connection.recv(65_536):
            received += more
    head, _, body = received.partition(b"\r\n\r\n")
    promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) < promised


def test_a_stopping_service_lets_go_of_what_it_stalls(start: Start) -> None:
    bloq = start()
    caller = Caller.of(bloq)
    token = caller.access_token()
    fault_id = bloq.add_fault(Fault(kind=FaultKind.STALL_HEADERS, service="nodes", times=None))
    with _raw_request(caller, token) as connection:
        _until_struck(bloq, fault_id)
        bloq.stop()
        assert connection.recv(1) == b""


def test_truncated_json_is_a_whole_answer_with_half_an_object(caller: Caller, token: str) -> None:
    caller.bloq.add_fault(Fault(kind=FaultKind.TRUNCATED_JSON, service="nodes", method="POST"))
    answer = _create(caller, token)
    assert answer.status_code == 201
    with pytest.raises(ValueError, match="JSON|Unterminated|Expecting"):
        answer.json()
    assert _node_count(caller, token) == 1


def test_a_truncated_answer_without_a_body_gets_one(caller: Caller, token: str) -> None:
    node = _create(caller, token).json()
    caller.bloq.add_fault(Fault(kind=FaultKind.TRUNCATED_JSON, method="DELETE"))
    answer = caller.nodes("DELETE", f"{_OWN}/{node['id']}", token)
    assert (answer.status_code, answer.text) == (200, '{"id": "')


def test_a_delay_is_cut_short_by_clearing_the_fault(caller: Caller, token: str) -> None:
    fault_id = caller.bloq.add_fault(
        Fault(kind=FaultKind.DELAY, service="nodes", method="POST", seconds=3_600)
    )
    statuses: list[int] = []
    waiting = threading.Thread(target=lambda: statuses.append(_create(caller, token).status_code))
    waiting.start()
    _until_struck(caller.bloq, fault_id)
    assert _node_count(caller, token) == 0
    caller.bloq.clear_faults(fault_id)
    waiting.join(10)
    assert statuses == [201]


def test_a_clock_jump_expires_the_very_token_of_the_request(caller: Caller, token: str) -> None:
    before = caller.bloq.now()
    caller.bloq.add_fault(Fault(kind=FaultKind.CLOCK_JUMP, service="nodes", seconds=3_700))
    assert caller.nodes("GET", _OWN, token).status_code == 401
    assert caller.bloq.now() - before >= 3_700
    assert caller.nodes("GET", _OWN, caller.access_token()).status_code == 200


def test_a_fault_strikes_only_its_service_method_and_path(caller: Caller, token: str) -> None:
    fault = Fault(kind=FaultKind.STATUS, service="nodes", method="get", path="/users/me/*", times=None)
    fault_id = caller.bloq.add_fault(fault)
    assert caller.accounts("GET", "/users/me", caller.log_in()).status_code == 200
    assert caller.nodes("GET", "/chains").status_code == 200
    assert _create(caller, token).status_code == 201
    assert caller.bloq.faults_struck() == {fault_id: 0}
    assert caller.nodes("GET", _OWN, token).status_code == 503
    assert caller.bloq.faults_struck() == {fault_id: 1}


def test_a_fault_strikes_as_often_as_ordered_after_as_many_as_it_lets_pass(
    caller: Caller, token: str
) -> None:
    caller.bloq.add_fault(Fault(kind=FaultKind.STATUS, service="nodes", times=2, after=1))
    assert [caller.nodes("GET", _OWN, token).status_code for _ in range(4)] == [200, 503, 503, 200]


def test_faults_wait_their_turn_in_order(caller: Caller, token: str) -> None:
    caller.bloq.add_fault(Fault(kind=FaultKind.STATUS, service="nodes", status=500))
    caller.bloq.add_fault(Fault(kind=FaultKind.RATE_LIMIT, service="nodes"))
    assert [caller.nodes("GET", _OWN, token).status_code for _ in range(3)] == [500, 429, 200]


def test_a_fault_without_end_lasts_until_it_is_cleared(caller: Caller, token: str) -> None:
    caller.bloq.add_fault(Fault(kind=FaultKind.STATUS, service="nodes", times=None))
    assert {caller.nodes("GET", _OWN, token).status_code for _ in range(5)} == {503}
    caller.bloq.clear_faults()
    assert caller.nodes("GET", _OWN, token).status_code == 200


def test_faults_strike_the_token_endpoint_as_well(caller: Caller) -> None:
    caller.bloq.add_fault(
        Fault(kind=FaultKind.RATE_LIMIT, service="accounts", path="/auth/token", retry_after=1)
    )
    assert caller.grant(grantType="clientCredentials").status_code == 429
    assert caller.bloq.counters().mints_refused == 0


def test_an_unknown_fault_cannot_be_cleared(bloq: LocalBloq) -> None:
    with pytest.raises(LocalBloqNotFound):
        bloq.clear_faults("fault-unknown")


def test_a_wrong_fault_is_refused_by_name() -> None:
    for wrong, named in (
        ({"service": "stake"}, "service"),
        ({"times": 0}, "times"),
        ({"after": -1}, "after"),
        ({"status": 99}, "status"),
        ({"retry_after_form": "days"}, "retry_after_form"),
    ):
        with pytest.raises(LocalBloqConfigurationError, match=named):
            Fault(kind=FaultKind.STATUS, **wrong)


def _until_struck(bloq: LocalBloq, fault_id: str) -> None:
    for _ in range(100_000):
        if bloq.faults_struck()[fault_id]:
            return
    pytest.fail("the fault never struck")
