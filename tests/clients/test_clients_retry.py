"""When requests are repeated, after how long, and when they must not be."""

from __future__ import annotations

import time

import pytest

from airflow_provider_bloq.exceptions import BloqRateLimited, BloqUnavailable
from airflow_provider_bloq.flow.effects import Effect, Flow, Request, Response, Send, Sleep
from airflow_provider_bloq.flow.retry import RetryPolicy, http_date, retry_after, sent_with_retries
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq, LocalBloqOptions
from tests.clients.both_ways import FULL_JITTER, BothWays, OpenClients
from tests.support.raw_server import RawConnection, RawServer, SeenRequest, Serve, answering

REQUEST = Request("GET", "https://nodes.example/")
LIST = "nodes GET /users/me/nodes"
CREATE = "nodes POST /users/me/nodes"
#: The clock of a service that serves an answer.
SERVED = "Tue, 24 Nov 2026 05:00:00 GMT"


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_passing_failure_of_the_gateway_is_waited_for(
    service: LocalBloq, bloq: BothWays, status: int
) -> None:
    service.add_fault(Fault(kind=FaultKind.STATUS, service="nodes", status=status, times=2))
    assert bloq.nodes.list() == []
    assert bloq.pauses == [0.5, 1.0]
    assert service.counters().calls[LIST] == 3


@pytest.mark.parametrize("status", [500, 501, 400, 409, 422])
def test_an_error_of_the_service_itself_is_not_asked_for_again(
    service: LocalBloq, bloq: BothWays, status: int
) -> None:
    service.add_fault(Fault(kind=FaultKind.STATUS, service="nodes", status=status))
    with pytest.raises(Exception, match=f"answered {status}: InjectedFault"):
        bloq.nodes.list()
    assert bloq.pauses == []
    assert service.counters().calls[LIST] == 1


@pytest.mark.parametrize("kind_of_fault", [FaultKind.RESET, FaultKind.LOST_RESPONSE])
def test_a_read_whose_answer_was_lost_is_sent_again(
    service: LocalBloq, bloq: BothWays, kind_of_fault: FaultKind
) -> None:
    service.add_fault(Fault(kind=kind_of_fault, service="nodes", times=1))
    assert bloq.nodes.list() == []
    # aiohttp sends what only reads once more by itself, without a pause.
    assert bloq.pauses in ([0.5], [])
    assert service.counters().calls[LIST] == 2


def test_a_service_that_stays_away_is_asked_five_times(service: LocalBloq, bloq: BothWays) -> None:
    service.add_fault(Fault(kind=FaultKind.STATUS, service="nodes", status=503, times=None))
    with pytest.raises(BloqUnavailable, match="answered 503"):
        bloq.nodes.list()
    assert bloq.pauses == [0.5, 1.0, 2.0, 4.0]
    assert service.counters().calls[LIST] == 5


def test_a_refused_connection_is_tried_again_and_told_as_not_acted_on(
    service: LocalBloq, open_clients: OpenClients
) -> None:
    with pytest.raises(BloqUnavailable, match="could not be sent") as failure:
        open_clients(service, nodes_url=_url_of_nobody()).nodes.list()
    assert failure.value.acted is False
    assert (failure.value.method, failure.value.status) == ("GET", None)


def _url_of_nobody() -> str:
    """Return the URL of a port that was given up."""
    with RawServer(answering()) as server:
        return server.url


def test_retry_after_in_seconds_is_obeyed_with_a_little_on_top(service: LocalBloq, bloq: BothWays) -> None:
    service.add_fault(Fault(kind=FaultKind.RATE_LIMIT, service="nodes", retry_after=7, times=2))
    assert bloq.nodes.list() == []
    assert bloq.pauses == [7.5, 8.0]


def test_retry_after_as_a_date_is_measured_by_the_clock_of_the_service(open_clients: OpenClients) -> None:
    in_2001 = LocalBloqOptions(upstreams={}, clock=lambda: 1_000_000_000.0)
    with LocalBloq(in_2001) as service:
        service.add_fault(
            Fault(kind=FaultKind.RATE_LIMIT, service="nodes", retry_after=9, retry_after_form="date")
        )
        bloq = open_clients(service)
        assert bloq.nodes.list() == []
        assert bloq.pauses == [9.5]


def test_a_503_may_say_when_to_come_back_as_well(service: LocalBloq, bloq: BothWays) -> None:
    service.add_fault(Fault(kind=FaultKind.STATUS, service="nodes", status=503, retry_after=3))
    assert bloq.nodes.list() == []
    assert bloq.pauses == [3.5]


def test_a_long_retry_after_is_for_the_caller(service: LocalBloq, bloq: BothWays) -> None:
    service.add_fault(Fault(kind=FaultKind.RATE_LIMIT, service="nodes", retry_after=121, times=None))
    with pytest.raises(BloqRateLimited) as limit:
        bloq.nodes.list()
    assert (limit.value.retry_after, limit.value.retryable) == (121.0, True)
    assert bloq.pauses == []
    assert service.counters().calls[LIST] == 1


def test_a_create_that_was_turned_away_by_a_rate_limit_is_sent_again(
    service: LocalBloq, bloq: BothWays
) -> None:
    service.add_fault(Fault(kind=FaultKind.RATE_LIMIT, service="nodes", method="POST", retry_after=2))
    node = bloq.nodes.create(service.service_id("btc"))
    assert [listed.id for listed in bloq.nodes.list()] == [node.id]
    assert bloq.pauses == [2.5]
    assert service.counters().calls[CREATE] == 2


def test_accounts_is_waited_for_like_any_other(service: LocalBloq, bloq: BothWays) -> None:
    service.add_fault(Fault(kind=FaultKind.RATE_LIMIT, service="accounts", retry_after=4))
    assert bloq.nodes.list() == []
    assert bloq.pauses == [4.5]
    assert service.counters().mints == 1


def test_while_accounts_is_away_the_call_itself_is_not_repeated_on_top(
    service: LocalBloq, bloq: BothWays
) -> None:
    service.add_fault(Fault(kind=FaultKind.STATUS, service="accounts", status=503, times=None))
    with pytest.raises(BloqUnavailable, match="auth/token answered 503"):
        bloq.nodes.list()
    assert service.counters().calls == {"accounts POST /auth/token": 5}


def test_the_user_agent_tells_who_calls(open_clients: OpenClients, serve: Serve) -> None:
    def script(connection: RawConnection, request: SeenRequest) -> None:
        connection.reply(200, b'{"accessToken": "t"}' if request.target == "/auth/token" else b"[]")

    server = serve(script)
    assert open_clients(server.url).nodes.list() == []
    assert {request.headers["user-agent"].split("/")[0] for request in server.requests} == {
        "airflow-provider-bloq"
    }


def test_pauses_double_up_to_the_cap_and_end_with_the_attempts() -> None:
    policy = RetryPolicy(attempts=10, random=lambda: 1.0)
    pauses = [policy.pause(attempt, None) for attempt in range(1, 11)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0, 20.0, None]


def test_the_jitter_is_full() -> None:
    assert RetryPolicy(random=lambda: 0.0).pause(3, None) == 0.0
    drawn = {RetryPolicy().pause(4, None) for _ in range(50)}
    assert len(drawn) > 40
    assert all(0.0 <= pause <= 4.0 for pause in drawn if pause is not None)


def sent(effect: Effect) -> Request:
    assert isinstance(effect, Send)
    return effect.request


def slept(effect: Effect) -> float:
    assert isinstance(effect, Sleep)
    return effect.seconds


@pytest.mark.parametrize(
    ("idempotent", "acted", "repeated"),
    [(True, True, True), (True, False, True), (False, False, True), (False, True, False)],
)
def test_what_may_have_been_acted_on_is_repeated_only_where_that_is_harmless(
    idempotent: bool, acted: bool, repeated: bool
) -> None:
    flow = sent_with_retries(REQUEST, FULL_JITTER, idempotent=idempotent)
    assert sent(next(flow)) == REQUEST
    failure = BloqUnavailable("no answer", acted=acted)
    if repeated:
        assert slept(flow.throw(failure)) == 0.5
        assert sent(next(flow)) == REQUEST
    else:
        with pytest.raises(BloqUnavailable):
            flow.throw(failure)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_write_is_not_repeated_after_a_server_error(status: int) -> None:
    flow = sent_with_retries(REQUEST, FULL_JITTER, idempotent=False)
    next(flow)
    assert _returned(flow, Response(status)) == Response(status)


def _returned(flow: Flow[Response], response: Response) -> Response:
    with pytest.raises(StopIteration) as end:
        flow.send(response)
    result: Response = end.value.value
    return result


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("Tue, 24 Nov 2026 05:00:30 GMT", SERVED, 30.0),
        ("Tuesday, 24-Nov-26 05:00:30 GMT", SERVED, 30.0),
        ("Tue Nov 24 05:00:30 2026", SERVED, 30.0),
        ("Tue, 24 Nov 2026 04:00:00 GMT", SERVED, 0.0),
        ("17", SERVED, 17.0),
        (" 17 ", None, 17.0),
        ("0", None, 0.0),
        ("9" * 400, None, 1e9),
        ("", SERVED, None),
        ("soon", SERVED, None),
        ("-5", SERVED, None),
        ("1.5", SERVED, None),
        ("\N{ARABIC-INDIC DIGIT FOUR}", SERVED, None),
        ("Tue, 99 Nov 2026 05:00:30 GMT", SERVED, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(value: str, date: str | None, seconds: float | None) -> None:
    headers = {"retry-after": value} | ({"date": date} if date else {})
    assert retry_after(Response(429, headers)) == seconds


def test_a_date_without_a_zone_is_utc_wherever_this_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        assert http_date("Sun Nov  6 08:49:37 1994") == http_date("Sun, 06 Nov 1994 08:49:37 GMT")
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
