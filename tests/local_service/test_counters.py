"""What the service tells about the calls that reached it."""

from __future__ import annotations

import hashlib

from tests.local_service.service_caller import Caller


def test_mints_refreshes_and_logins_are_counted_by_success(caller: Caller) -> None:
    refresh = caller.mint()["refreshToken"]
    caller.refresh(refresh)
    caller.refresh("nonsense")
    caller.grant(grantType="clientCredentials", clientId="x", clientSecret="y")
    caller.log_in()
    counts = caller.bloq.counters()
    assert (counts.mints, counts.mints_refused) == (1, 1)
    assert (counts.refreshes, counts.refreshes_refused) == (1, 1)
    assert (counts.logins, counts.logins_refused) == (1, 0)


def test_calls_are_counted_by_route_template_and_by_status(caller: Caller) -> None:
    token = caller.access_token()
    for node_id in ("node-1", "node-2"):
        caller.nodes("GET", f"/users/me/nodes/{node_id}", token)
    caller.nodes("GET", "/users/me/nodes")
    caller.nodes("GET", "/nowhere")
    counts = caller.bloq.counters()
    assert counts.calls == {
        "accounts POST /auth/token": 1,
        "nodes GET /users/me/nodes/{id}": 2,
        "nodes GET /users/me/nodes": 1,
        "nodes GET unmatched": 1,
    }
    assert counts.statuses == {"accounts 200": 1, "nodes 404": 3, "nodes 401": 1}
    assert counts.unauthorized == {"nodes": 1}


def test_the_listeners_of_a_token_are_known_but_not_the_token(caller: Caller) -> None:
    token, unused = caller.access_token(), caller.access_token()
    caller.nodes("GET", "/users/me/nodes", token)
    assert caller.bloq.where_seen(token) == {"nodes"}
    assert caller.bloq.where_seen(unused) == frozenset()
    counts = caller.bloq.counters()
    assert counts.authorizations["nodes"] == (hashlib.sha256(f"Bearer {token}".encode()).hexdigest(),)
    assert token not in repr(counts)


def test_a_refused_token_counts_as_arrived(caller: Caller) -> None:
    caller.accounts("GET", "/users/me", "canary")
    assert caller.bloq.where_seen("canary") == {"accounts"}


def test_the_counters_can_be_reset(caller: Caller) -> None:
    caller.nodes("GET", "/users/me/nodes", caller.access_token())
    caller.bloq.reset_counters()
    counts = caller.bloq.counters()
    assert (counts.mints, counts.calls, counts.tokens, counts.authorizations) == (0, {}, {}, {})
