"""The client-side rate limit on an injected clock, and what a Retry-After does to all requests."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import BloqRateLimited
from airflow_provider_bloq.flow.effects import Flow, Request, Response, send
from airflow_provider_bloq.flow.events import Event
from airflow_provider_bloq.flow.retry import (
    LONGEST_HOLD,
    RateLimiter,
    RateLimiters,
    RetryPolicy,
    sent_with_retries,
    shared_rate_limiters,
)
from airflow_provider_bloq.hooks.auth import BloqAuth
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.testing.local import LocalBloq
from tests.support.scripted_bloq import ACCOUNTS, NODES, ScriptedBloq

CALL = Request("GET", NODES)


@pytest.fixture
def bloq() -> ScriptedBloq:
    return ScriptedBloq()


def limited(bloq: ScriptedBloq, rate: float) -> RateLimiter:
    return RateLimiter(rate, clock=bloq.clock)


def sent_at(bloq: ScriptedBloq, limiter: RateLimiter, count: int) -> list[float]:
    """Send requests one after the other; returns when each was sent, in seconds from now."""
    begun, times = bloq.time, []
    for _ in range(count):
        bloq.run(limiter.over(send(CALL)))
        times.append(round(bloq.time - begun, 6))
    return times


def test_a_second_s_worth_goes_at_once_and_the_rest_at_the_rate(bloq: ScriptedBloq) -> None:
    assert sent_at(bloq, limited(bloq, 4), 8) == [0, 0, 0, 0, 0.25, 0.5, 0.75, 1.0]


def test_a_rate_below_one_parts_even_the_first_two(bloq: ScriptedBloq) -> None:
    assert sent_at(bloq, limited(bloq, 0.1), 3) == [0, 10, 20]


def test_what_was_not_used_is_not_saved_up_beyond_a_second(bloq: ScriptedBloq) -> None:
    limiter = limited(bloq, 2)
    sent_at(bloq, limiter, 1)
    bloq.time += 3600
    assert sent_at(bloq, limiter, 4) == [0, 0, 0.5, 1.0]


def test_those_who_come_together_get_a_turn_each(bloq: ScriptedBloq) -> None:
    limiter = limited(bloq, 1)
    waits: list[Any] = [next(limiter.admit(), None) for _ in range(4)]
    assert [wait.seconds if wait else 0 for wait in waits] == [0, 1, 2, 3]


def test_a_retry_after_holds_back_every_request(bloq: ScriptedBloq) -> None:
    limiter = limited(bloq, 100)
    bloq.service_answers.append(Response(429, {"retry-after": "30"}))
    assert bloq.run(limiter.over(send(CALL))).status == 429
    assert sent_at(bloq, limiter, 2) == [30, 30]


def test_who_slept_already_when_it_came_waits_on(bloq: ScriptedBloq) -> None:
    limiter = limited(bloq, 1)
    sent_at(bloq, limiter, 1)
    sleeper = limiter.admit()
    first: Any = next(sleeper)
    limiter.note(Response(429, {"retry-after": "10"}))
    bloq.time += first.seconds
    second: Any = next(sleeper)
    assert first.seconds + second.seconds >= 10


def test_an_event_says_who_held_a_request_back(bloq: ScriptedBloq) -> None:
    events: list[Event] = []
    bloq.observe = events.append
    limiter = limited(bloq, 1)
    sent_at(bloq, limiter, 2)
    limiter.note(Response(429, {"retry-after": "10"}))
    sent_at(bloq, limiter, 1)
    assert [(event.name, event.fields) for event in events] == [
        ("held_back", {"seconds": 1.0, "by_service": False}),
        ("held_back", {"seconds": 10.0, "by_service": True}),
    ]


def test_the_retries_of_a_request_are_limited_as_well(bloq: ScriptedBloq) -> None:
    bloq.service_answers.extend([Response(503)] * 4)
    policy = RetryPolicy(base=0.0)
    begun = bloq.time
    response: Response = bloq.run(limited(bloq, 0.5).over(sent_with_retries(CALL, policy, idempotent=True)))
    assert (response.status, bloq.time - begun) == (401, 8)


def test_no_request_is_sent_while_the_service_asks_for_more_than_a_worker_waits(bloq: ScriptedBloq) -> None:
    limiter = limited(bloq, 100)
    limiter.note(Response(429, {"retry-after": str(int(LONGEST_HOLD) + 480)}))
    with pytest.raises(BloqRateLimited) as told:
        bloq.run(limiter.over(send(CALL)))
    assert told.value.retry_after == LONGEST_HOLD + 480
    assert (bloq.calls, bloq.slept) == (0, [])


def test_other_answers_hold_back_nobody(bloq: ScriptedBloq) -> None:
    limiter = limited(bloq, 100)
    for response in (
        Response(503, {"retry-after": "30"}),
        Response(429),
        Response(200, {"retry-after": "9"}),
    ):
        limiter.note(response)
    assert sent_at(bloq, limiter, 1) == [0]


def test_an_error_of_the_driver_reaches_the_flow(bloq: ScriptedBloq) -> None:
    def flow() -> Flow[str]:
        try:
            yield from send(Request("POST", ACCOUNTS, body=b"no JSON"))
        except ValueError:
            return "caught"
        return "not raised"

    assert bloq.run(limited(bloq, 1).over(flow())) == "caught"


def test_a_flow_that_is_given_up_is_closed(bloq: ScriptedBloq) -> None:
    closed = []

    def flow() -> Flow[None]:
        try:
            yield from send(CALL)
        finally:
            closed.append(True)

    running = limited(bloq, 1).over(flow())
    next(running)
    running.close()
    assert closed == [True]


def test_a_connection_has_one_pace_in_a_process_and_a_new_one_for_a_new_rate() -> None:
    book = RateLimiters()
    assert book.of("a", 1.0) is book.of("a", 1.0)
    assert book.of("a", 1.0) is not book.of("b", 1.0)
    assert book.of("a", 1.0) is not book.of("a", 2.0)


def test_a_forked_child_has_turns_of_its_own() -> None:
    limiter = shared_rate_limiters.of("forked", 0.01)
    assert list(limiter.admit()) == []
    pid = os.fork()
    if pid == 0:
        waits = [list(limiter.admit()), list(shared_rate_limiters.of("forked", 0.01).admit())]
        os._exit(0 if waits == [[], []] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class TestHooks:
    """The hooks keep the limit of their connection, whichever way a request goes out."""

    @pytest.fixture(autouse=True)
    def connection(self, service: LocalBloq, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        account = service.create_account(f"{os.urandom(4).hex()}@example.com", "a fine password")
        keys = service.create_client_keys(account.id)
        connection = {
            "conn_type": "bloq",
            "host": service.accounts_url,
            "login": keys.client_id,
            "password": keys.client_secret,
            "extra": {"environment": "local", "nodes_url": service.nodes_url, "requests_per_second": 1000},
        }
        monkeypatch.setenv("AIRFLOW_CONN_BLOQ_LIMITED", json.dumps(connection))
        yield
        shared_rate_limiters.forget()

    def turns(self) -> float:
        """Tell how much of the connection's limit is used up; one that is never used has no end."""
        return shared_rate_limiters.of("bloq_limited", 1000.0)._full_at

    def test_clients_and_sessions(self, service: LocalBloq) -> None:
        import requests

        hook, used = BloqHook("bloq_limited"), self.turns()
        nodes = f"{service.nodes_url}/users/me/nodes"
        for call in (
            hook.nodes.list,
            lambda: hook.get_conn().get(nodes).raise_for_status(),
            lambda: requests.get(nodes, auth=BloqAuth("bloq_limited"), timeout=30).raise_for_status(),
        ):
            call()
            assert self.turns() > used
            used = self.turns()

    async def test_the_async_hook(self, service: LocalBloq) -> None:
        async with BloqAsyncHook("bloq_limited") as hook:
            await hook.nodes.list()
        assert self.turns() > 0

    def test_a_session_s_429_holds_back_the_clients(self, service: LocalBloq) -> None:
        from airflow_provider_bloq.testing.local import Fault, FaultKind

        hook = BloqHook("bloq_limited")
        hook.nodes.list()
        service.add_fault(Fault(kind=FaultKind.RATE_LIMIT, service="nodes", retry_after=500))
        assert hook.get_conn().get(f"{service.nodes_url}/users/me/nodes").status_code == 429
        with pytest.raises(BloqRateLimited, match="this one was not sent"):
            hook.nodes.list()

    def test_requests_for_tokens_are_not_held_back(self, service: LocalBloq) -> None:
        hook = BloqHook("bloq_limited")
        hook.get_access_token()
        assert self.turns() == float("-inf")
