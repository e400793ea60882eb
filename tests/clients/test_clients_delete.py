"""Delete may be sent again, and what is deleted already is no error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import BloqApiError, BloqConfigurationError, BloqNotFound
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq, LocalBloqOptions
from tests.clients.both_ways import BothWays, OpenClients
from tests.support.raw_server import RawConnection, RawServer, SeenRequest, Serve

#: Status and body of an answer.
Answer = tuple[int, bytes]


def make(service: LocalBloq, bloq: BothWays, things: str) -> str:
    kind: Any = "nodes" if things == "nodes" else "cluster"
    made = getattr(bloq, things).create(service.service_id("eth", kind=kind))
    return str(made.id)


@pytest.fixture(params=["nodes", "clusters"])
def things(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def test_what_is_deleted_stays_in_the_list_as_stopped(
    service: LocalBloq, bloq: BothWays, things: str
) -> None:
    machine = make(service, bloq, things)
    assert getattr(bloq, things).delete(machine) is None
    assert [(one.id, one.state) for one in getattr(bloq, things).list()] == [(machine, "stopped")]


@pytest.mark.parametrize("again", [404, 204])
def test_deleting_again_is_no_error(open_clients: OpenClients, things: str, again: Any) -> None:
    with LocalBloq(LocalBloqOptions(upstreams={}, repeated_delete_status=again)) as service:
        bloq = open_clients(service)
        machine = make(service, bloq, things)
        for _ in range(2):
            getattr(bloq, things).delete(machine)


@pytest.mark.parametrize(
    "kind_of_fault", [FaultKind.LOST_RESPONSE, FaultKind.TRUNCATED_JSON, FaultKind.RESET]
)
def test_a_lost_answer_and_then_a_404_are_success(
    service: LocalBloq, bloq: BothWays, things: str, kind_of_fault: FaultKind
) -> None:
    machine = make(service, bloq, things)
    service.add_fault(Fault(kind=kind_of_fault, service="nodes", method="DELETE"))
    if kind_of_fault is FaultKind.TRUNCATED_JSON:
        # An answer that came, but cannot be read, is told; the next attempt of the task succeeds.
        with pytest.raises(Exception, match="no JSON"):
            getattr(bloq, things).delete(machine)
    getattr(bloq, things).delete(machine)
    assert getattr(bloq, things).get(machine).state == "stopped"
    assert service.counters().calls[f"nodes DELETE /users/me/{things}/{{id}}"] == 2


def repeated(
    serve: Serve, open_clients: OpenClients, answer: Answer, state: str
) -> tuple[BothWays, RawServer]:
    """Serve nodes and clusters whose delete is answered in one way, and one of whom is in a state."""

    def script(connection: RawConnection, request: SeenRequest) -> None:
        machine = {"id": "node-1", "chain": "eth", "network": "mainnet", "state": state, "serviceData": {}}
        if request.target == "/auth/token":
            connection.reply(200, b'{"accessToken": "a-token"}')
        elif request.method == "DELETE":
            connection.reply(*answer)
        else:
            connection.reply(200, json.dumps([machine]).encode())

    server = serve(script)
    return open_clients(server.url), server


@pytest.mark.parametrize(
    "answer",
    [
        (400, b""),
        (400, b'{"code": "NodeStopped", "message": "The node is stopped"}'),
        (404, b""),
        (409, b'{"status": 409, "title": "Conflict"}'),
        (410, b"Gone"),
    ],
)
def test_whatever_a_second_delete_is_answered_stopped_is_stopped(
    serve: Serve, open_clients: OpenClients, things: str, answer: Answer
) -> None:
    bloq, server = repeated(serve, open_clients, answer, "stopped")
    assert getattr(bloq, things).delete(" node-1 ") is None
    asked = [request.method for request in server.requests if request.target != "/auth/token"]
    assert asked == ["DELETE", "GET"]


@pytest.mark.parametrize("status", [400, 404, 409, 410])
def test_a_delete_that_is_refused_is_an_error_while_it_runs(
    serve: Serve, open_clients: OpenClients, things: str, status: int
) -> None:
    bloq, _ = repeated(serve, open_clients, (status, b'{"code": "Busy"}'), "started")
    with pytest.raises(BloqApiError, match=f"DELETE .* answered {status}: Busy") as refused:
        getattr(bloq, things).delete("node-1")
    assert refused.value.status == status


@pytest.mark.parametrize("answer", [(403, b'{"code": "Forbidden"}'), (422, b""), (500, b"")])
def test_another_error_of_a_delete_is_not_looked_into(
    serve: Serve, open_clients: OpenClients, things: str, answer: Answer
) -> None:
    bloq, server = repeated(serve, open_clients, answer, "stopped")
    with pytest.raises(BloqApiError, match=f"answered {answer[0]}"):
        getattr(bloq, things).delete("node-1")
    assert not [request for request in server.requests if request.method == "GET"]


def test_what_never_was_is_not_found(service: LocalBloq, bloq: BothWays, things: str) -> None:
    with pytest.raises(BloqNotFound, match="DELETE"):
        getattr(bloq, things).delete("node-0")
    with pytest.raises(BloqNotFound):
        getattr(bloq, things).get("node-0")


def test_what_belongs_to_another_account_is_not_found(
    service: LocalBloq, bloq: BothWays, open_clients: OpenClients, things: str
) -> None:
    machine = make(service, bloq, things)
    stranger = open_clients(service)
    with pytest.raises(BloqNotFound):
        getattr(stranger, things).delete(machine)
    assert getattr(bloq, things).get(machine).state == "started"


def test_blanks_around_an_id_are_nothing(service: LocalBloq, bloq: BothWays, things: str) -> None:
    machine = make(service, bloq, things)
    for _ in range(2):
        getattr(bloq, things).delete(f" {machine}\n")


@pytest.mark.parametrize("id_", ["", "  ", ".", "..", None, 7])
def test_what_is_no_id_is_refused_before_anything_is_sent(
    service: LocalBloq, bloq: BothWays, things: str, id_: Any
) -> None:
    with pytest.raises(BloqConfigurationError, match="is no id"):
        getattr(bloq, things).delete(id_)
    assert service.counters().calls == {}


def test_an_id_cannot_lead_to_another_path(service: LocalBloq, bloq: BothWays, things: str) -> None:
    for id_ in ("../../../auth", "a/b", "a?lines=1", "a#b", "%2e%2e"):
        with pytest.raises(BloqNotFound):
            getattr(bloq, things).get(id_)
    routes = {route for route in service.counters().calls if route.startswith("nodes ")}
    assert routes == {f"nodes GET /users/me/{things}/{{id}}"}
