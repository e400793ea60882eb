"""``test_connection``: the findings stage by stage up to the first failure, and no side effects."""

from __future__ import annotations

import json
import os
import socket

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.local import Fault, FaultKind, IssuedKeys, LocalBloq
from airflow_provider_bloq.testing.stack import LocalStack
from tests.doctor.conftest import Connect
from tests.support.raw_server import RawServer, Serve, answering


def check() -> tuple[bool, list[str]]:
    """Return the verdict and the lines of the report."""
    good, report = BloqHook().test_connection()
    return good, report.splitlines()


def unused_url() -> str:
    """Return the URL of a port that was given up."""
    with RawServer(answering()) as server:
        return server.url


def test_every_stage_has_a_line(service: LocalBloq, keys: IssuedKeys) -> None:
    BloqHook().nodes.create(service.service_id("btc"))
    good, lines = check()
    assert good
    assert lines[:3] == [
        "Client keys: found in connection 'bloq_default'.",
        f"Access token: minted at {service.accounts_url}, expires in 60 min.",
        f"Nodes: {service.nodes_url} accepts the token; 1 node(s) running.",
    ]
    assert lines[3].startswith("Connect: http://localhost:4006 ")
    assert lines[4].startswith(f"Checked on host {socket.gethostname()}, process {os.getpid()};")


def test_connect_is_optional(service: LocalBloq, connect: Connect, keys: IssuedKeys, serve: Serve) -> None:
    there = serve(answering(200))
    for url, words in (
        (there.url, "answers (200)"),
        (unused_url(), "is not reachable. That is fine"),
    ):
        connect(service.accounts_url, service.nodes_url, keys, extra={"connect_url": url})
        good, lines = check()
        assert good
        assert f"Connect: {url} {words}" in lines[3]
    assert [seen.authorization for seen in there.requests] == [None]


def test_the_version_of_the_keys_in_vault_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalStack() as stack:
        stack.renew_keys()
        for conn_id, connection in stack.connections().items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        good, lines = check()
        assert good
        assert "bloq/client-keys" in lines[0]
        assert lines[0].endswith(", version 2.")


def test_a_connection_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_BLOQ_DEFAULT", raising=False)
    good, lines = check()
    assert not good
    assert lines[0].startswith("Connection: FAILED. ")
    assert "bloq_default" in lines[0]


def test_all_wrong_settings_are_named(service: LocalBloq, connect: Connect) -> None:
    connect(service.accounts_url, "ftp://x", extra={"timeout": 0}, login="")
    good, lines = check()
    assert not good
    assert lines[0].startswith("Connection: FAILED. connection 'bloq_default': 3 fields are wrong")
    assert {line.split(":")[0] for line in lines[1:4]} == {"- nodes_url", "- timeout", "- login"}


def test_refused_keys(service: LocalBloq, keys: IssuedKeys) -> None:
    service.delete_client_keys(keys.client_id)
    good, lines = check()
    assert not good
    assert lines[0] == "Client keys: found in connection 'bloq_default'."
    assert lines[1].startswith("Access token: FAILED. Accounts refuses the client keys")
    assert "Create a new pair" in lines[1]
    assert service.counters().mints_refused == 1


def test_an_unreachable_vault(service: LocalBloq, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = {"conn_type": "vault", "host": "127.0.0.1", "port": 1, "schema": "secret", "password": "t"}
    monkeypatch.setenv("AIRFLOW_CONN_VAULT_DEFAULT", json.dumps({**vault, "extra": {"auth_type": "token"}}))
    connect(service.accounts_url, service.nodes_url, login="", password="", extra={"vault_path": "bloq/keys"})
    good, lines = check()
    assert not good
    assert lines[0].startswith("Client keys: FAILED. ")
    assert service.counters().calls == {}


def test_an_unreachable_accounts(service: LocalBloq, connect: Connect) -> None:
    connect(unused_url(), service.nodes_url)
    good, lines = check()
    assert not good
    assert lines[0].startswith("Client keys: found")
    assert lines[1].startswith("Access token: FAILED. POST http://127.0.0.1:")
    assert lines[1].endswith("Is the host (Accounts) right, and may this machine reach it?")


def test_an_accounts_url_of_another_service(service: LocalBloq, connect: Connect) -> None:
    connect(service.nodes_url, service.nodes_url)
    good, lines = check()
    assert not good
    assert "Access token: FAILED. POST" in lines[1]
    assert "answered 404" in lines[1]


def test_an_unreachable_nodes(service: LocalBloq, connect: Connect, keys: IssuedKeys) -> None:
    connect(service.accounts_url, unused_url(), keys)
    good, lines = check()
    assert not good
    assert lines[1].startswith("Access token: minted")
    assert lines[2].startswith("Nodes: FAILED. GET http://127.0.0.1:")
    assert lines[2].endswith("Is nodes_url right, and may this machine reach it?")


def test_errors_of_nodes(service: LocalBloq, keys: IssuedKeys) -> None:
    for fault, words in (
        (
            Fault(kind=FaultKind.UNAUTHORIZED, service="nodes", times=None),
            "refuses (401) even an access token",
        ),
        (Fault(kind=FaultKind.STATUS, service="nodes", times=None), "answered 503"),
        (Fault(kind=FaultKind.RATE_LIMIT, service="nodes", times=None), "answered 429"),
        (Fault(kind=FaultKind.HTML, service="nodes", status=200), "is no JSON"),
    ):
        fault_id = service.add_fault(fault)
        good, lines = check()
        service.clear_faults(fault_id)
        assert not good
        assert lines[2].startswith("Nodes: FAILED. ")
        assert words in lines[2]


def test_nothing_is_retried(service: LocalBloq, keys: IssuedKeys) -> None:
    service.add_fault(Fault(kind=FaultKind.STATUS, service="accounts", times=None))
    assert check()[0] is False
    assert service.counters().calls == {"accounts POST /auth/token": 1}


def test_a_cached_token_is_not_used(service: LocalBloq, keys: IssuedKeys) -> None:
    hook = BloqHook()
    hook.nodes.list()
    service.delete_client_keys(keys.client_id)
    assert hook.nodes.list() == [], "the token that is held still works"
    good, lines = hook.test_connection()
    assert not good
    assert "refuses the client keys" in lines


def test_no_token_is_cached(service: LocalBloq, keys: IssuedKeys) -> None:
    for _ in range(2):
        assert check()[0]
    assert len(shared_providers) == 0
    BloqHook().nodes.list()
    assert service.counters().mints == 3


def test_tokens_of_others_are_kept(service: LocalBloq, keys: IssuedKeys) -> None:
    hook = BloqHook()
    token = hook.get_access_token()
    service.add_fault(Fault(kind=FaultKind.UNAUTHORIZED, service="nodes", times=4))
    assert hook.test_connection()[0] is False
    assert hook.get_access_token() == token


def test_no_secret_is_shown(service: LocalBloq, keys: IssuedKeys, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    reports = [BloqHook().test_connection()]
    for broken in ("accounts", "nodes"):
        fault_id = service.add_fault(Fault(kind=FaultKind.TRUNCATED_JSON, service=broken, times=None))
        reports.append(BloqHook().test_connection())
        service.clear_faults(fault_id)
    assert [good for good, _ in reports] == [True, False, False]
    token = BloqHook().get_access_token()
    for secret in (keys.client_secret, token, "eyJ"):
        assert secret not in str(reports)
        assert secret not in caplog.text
