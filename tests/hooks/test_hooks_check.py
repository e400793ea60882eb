"""The connection test: green stage by stage, red where it fails, and it leaves no trace."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.local import Fault, FaultKind, IssuedKeys, LocalBloq
from airflow_provider_bloq.testing.stack import LocalStack
from tests.hooks.conftest import Connect
from tests.support.raw_server import RawServer, Serve, answering


def check() -> tuple[bool, list[str]]:
    """Return the verdict, and what was told line by line."""
    good, told = BloqHook().test_connection()
    return good, told.splitlines()


def url_of_nobody() -> str:
    """Return the URL of a port that was given up."""
    with RawServer(answering()) as server:
        return server.url


def test_every_stage_is_told(service: LocalBloq, keys: IssuedKeys) -> None:
    BloqHook().nodes.create(service.service_id("btc"))
    good, told = check()
    assert good
    assert told[:3] == [
        "Client keys: found in connection 'bloq_default'.",
        f"Access token: minted at {service.accounts_url}, lives 60 min.",
        f"Nodes: {service.nodes_url} accepts the token; 1 node(s) running.",
    ]
    assert told[3].startswith("Connect: http://localhost:4006 ")
    assert told[4].startswith(f"Checked on host {socket.gethostname()}, process {os.getpid()};")


def test_connect_is_optional_but_told(
    service: LocalBloq, connect: Connect, keys: IssuedKeys, serve: Serve
) -> None:
    there = serve(answering(200))
    for url, told_of_it in (
        (there.url, "answers (200)"),
        (url_of_nobody(), "is not reachable. That is all right"),
    ):
        connect(service.accounts_url, service.nodes_url, keys, extra={"connect_url": url})
        good, told = check()
        assert good
        assert f"Connect: {url} {told_of_it}" in told[3]
    assert [seen.authorization for seen in there.requests] == [None]


def test_with_vault_the_version_of_the_keys_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalStack() as stack:
        stack.renew_keys()
        for conn_id, connection in stack.connections().items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        good, told = check()
        assert good
        assert "bloq/client-keys" in told[0]
        assert told[0].endswith(", version 2.")


def test_a_connection_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_BLOQ_DEFAULT", raising=False)
    good, told = check()
    assert not good
    assert told[0].startswith("Connection: FAILED. ")
    assert "bloq_default" in told[0]


def test_wrong_settings_are_named_all_at_once(service: LocalBloq, connect: Connect) -> None:
    connect(service.accounts_url, "ftp://x", extra={"timeout": 0}, login="")
    good, told = check()
    assert not good
    assert told[0].startswith("Connection: FAILED. connection 'bloq_default': 3 fields are wrong")
    assert {line.split(":")[0] for line in told[1:4]} == {"- nodes_url", "- timeout", "- login"}


def test_refused_keys(service: LocalBloq, keys: IssuedKeys) -> None:
    service.delete_client_keys(keys.client_id)
    good, told = check()
    assert not good
    assert told[0] == "Client keys: found in connection 'bloq_default'."
    assert told[1].startswith("Access token: FAILED. Accounts refuses the client keys")
    assert "Create a new pair" in told[1]
    assert service.counters().mints_refused == 1


def test_an_unreachable_vault(service: LocalBloq, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = {"conn_type": "vault", "host": "127.0.0.1", "port": 1, "schema": "secret", "password": "t"}
    monkeypatch.setenv("AIRFLOW_CONN_VAULT_DEFAULT", json.dumps({**vault, "extra": {"auth_type": "token"}}))
    connect(service.accounts_url, service.nodes_url, login="", password="", extra={"vault_path": "bloq/keys"})
    good, told = check()
    assert not good
    assert told[0].startswith("Client keys: FAILED. ")
    assert service.counters().calls == {}


def test_an_accounts_that_is_not_there(service: LocalBloq, connect: Connect) -> None:
    connect(url_of_nobody(), service.nodes_url)
    good, told = check()
    assert not good
    assert told[0].startswith("Client keys: found")
    assert told[1].startswith("Access token: FAILED. POST http://127.0.0.1:")
    assert told[1].endswith("Is the host (Accounts) right, and may this machine reach it?")


def test_an_accounts_that_is_something_else(service: LocalBloq, connect: Connect) -> None:
    connect(service.nodes_url, service.nodes_url)
    good, told = check()
    assert not good
    assert "Access token: FAILED. POST" in told[1]
    assert "answered 404" in told[1]


def test_a_nodes_that_is_not_there(service: LocalBloq, connect: Connect, keys: IssuedKeys) -> None:
    connect(service.accounts_url, url_of_nobody(), keys)
    good, told = check()
    assert not good
    assert told[1].startswith("Access token: minted")
    assert told[2].startswith("Nodes: FAILED. GET http://127.0.0.1:")
    assert told[2].endswith("Is nodes_url right, and may this machine reach it?")


@pytest.mark.parametrize(
    ("fault", "told_of_it"),
    [
        (
            Fault(kind=FaultKind.UNAUTHORIZED, service="nodes", times=None),
            "refuses (401) even an access token",
        ),
        (Fault(kind=FaultKind.STATUS, service="nodes", times=None), "answered 503"),
        (Fault(kind=FaultKind.RATE_LIMIT, service="nodes", times=None), "answered 429"),
        (Fault(kind=FaultKind.HTML, service="nodes", status=200), "is no JSON"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_a_nodes_that_does_not_answer_well(
    service: LocalBloq, keys: IssuedKeys, fault: Fault, told_of_it: str
) -> None:
    service.add_fault(fault)
    good, told = check()
    assert not good
    assert told[2].startswith("Nodes: FAILED. ")
    assert told_of_it in told[2]


def test_a_person_is_not_kept_waiting_by_retries(service: LocalBloq, keys: IssuedKeys) -> None:
    service.add_fault(Fault(kind=FaultKind.STATUS, service="accounts", times=None))
    assert check()[0] is False
    assert service.counters().calls == {"accounts POST /auth/token": 1}


def test_a_token_in_the_cache_does_not_make_a_broken_connection_look_good(
    service: LocalBloq, keys: IssuedKeys
) -> None:
    hook = BloqHook()
    hook.nodes.list()
    service.delete_client_keys(keys.client_id)
    assert hook.nodes.list() == [], "the token that is held still works"
    good, told = hook.test_connection()
    assert not good
    assert "refuses the client keys" in told


def test_no_token_is_left_for_others(service: LocalBloq, keys: IssuedKeys) -> None:
    for _ in range(2):
        assert check()[0]
    assert len(shared_providers) == 0
    BloqHook().nodes.list()
    assert service.counters().mints == 3


def test_the_test_ends_no_token_of_others(service: LocalBloq, keys: IssuedKeys) -> None:
    hook = BloqHook()
    token = hook.get_access_token()
    service.add_fault(Fault(kind=FaultKind.UNAUTHORIZED, service="nodes", times=4))
    assert hook.test_connection()[0] is False
    assert hook.get_access_token() == token


@pytest.mark.parametrize("broken", [None, "accounts", "nodes"])
def test_nothing_secret_is_told(service: LocalBloq, keys: IssuedKeys, broken: Any, caplog: Any) -> None:
    if broken:
        service.add_fault(Fault(kind=FaultKind.TRUNCATED_JSON, service=broken, times=None))
    caplog.set_level("DEBUG")
    good, told = BloqHook().test_connection()
    assert good is (broken is None)
    token = BloqHook().get_access_token() if not broken else "no token"
    for secret in (keys.client_secret, token, "eyJ"):
        assert secret not in told
        assert secret not in caplog.text
