"""``doctor``: every stage in its order, and cause and remedy of whatever does not work."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from airflow_provider_bloq.doctor.checks import examine
from airflow_provider_bloq.testing.local import Fault, FaultKind
from airflow_provider_bloq.testing.process import free_ports
from airflow_provider_bloq.testing.stack import KEYS_PATH, LocalStack
from tests.cli.conftest import Call, Connect

STAGES = [
    "Connection",
    "Vault",
    "Client keys",
    "Access token",
    "Refresh",
    "Clock",
    "Nodes",
    "Connect",
    "Node",
]


@pytest.fixture
def sealed(stack: LocalStack) -> Iterator[None]:
    stack.vault.seal()
    yield
    stack.vault.unseal()


@pytest.fixture
def clock_wrong_by_two_hours(stack: LocalStack) -> Iterator[None]:
    stack.bloq.advance_clock(7200)
    yield
    stack.bloq.advance_clock(-7200)


@pytest.fixture
def keys_that_are_refused(stack: LocalStack) -> Iterator[None]:
    stack.vault.put(KEYS_PATH, {"clientId": "a" * 40, "clientSecret": "b" * 80})
    yield
    stack.renew_keys()


@pytest.fixture
def certificate_changed(stack: LocalStack, node: str, connect: Connect) -> str:
    """The node has another certificate than the connection knows."""
    connect()
    return stack.bloq.replace_node_certificate(node)


def test_a_good_connection_passes_every_stage_in_its_order(call: Call, node: str) -> None:
    told = call("doctor", "--json")
    assert told.code == 0
    assert told.json["good"] is True
    assert told.outcomes == dict.fromkeys(STAGES, "passed")
    assert list(told.outcomes) == STAGES
    assert all(stage["seconds"] >= 0 and not stage["remedy"] for stage in told.json["stages"])
    assert "approle" in told.stage("Vault")["found"]
    assert f"Vault path '{KEYS_PATH}'" in told.stage("Client keys")["found"]
    assert "lives 60 min" in told.stage("Access token")["found"]
    assert node in told.stage("Node")["found"]
    assert "the pinned one" in told.stage("Node")["found"]


def test_a_sealed_vault(call: Call, sealed: None) -> None:
    told = call("doctor", "--json")
    assert told.code == 1
    stage = told.stage("Vault")
    assert stage["outcome"] == "failed"
    assert "is sealed" in stage["found"]
    assert "vault operator unseal" in stage["remedy"]
    # What does not need it is looked at all the same.
    assert told.outcomes["Clock"] == told.outcomes["Connect"] == "passed"
    assert told.outcomes["Access token"] == told.outcomes["Node"] == "skipped"


def test_a_wrong_path(call: Call, connect: Connect, stack: LocalStack) -> None:
    connect({"vault_path": "bloq/elsewhere"})
    stage = call("doctor", "--json").stage("Client keys")
    assert stage["outcome"] == "failed"
    assert "does not permit this login to read 'secret/data/bloq/elsewhere'" in stage["found"]
    assert 'path "secret/data/bloq/elsewhere" { capabilities = ["read"] }' in stage["remedy"]

    everything = {"login": "", "password": stack.vault.root_token, "extra": {"auth_type": "token"}}
    connect({"vault_path": "bloq/elsewhere"}, everything)
    stage = call("doctor", "--json").stage("Client keys")
    assert "there is no secret at 'secret/data/bloq/elsewhere'" in stage["found"]
    assert "correct the path" in stage["remedy"]


def test_a_wrong_key_name(call: Call, connect: Connect) -> None:
    connect({"vault_key_field": "secret_of_client"})
    told = call("doctor", "--json")
    stage = told.stage("Client keys")
    assert told.code == 1
    assert stage["outcome"] == "failed"
    assert "no field 'secret_of_client'; it has 'clientId', 'clientSecret'" in stage["found"]
    assert stage["remedy"] == "Set vault_key_field to the right name, or add the field to the secret."


def test_keys_that_are_refused(call: Call, keys_that_are_refused: None) -> None:
    told = call("doctor", "--json")
    stage = told.stage("Access token")
    assert told.code == 1
    assert told.outcomes["Client keys"] == "passed"
    assert stage["outcome"] == "failed"
    assert "Accounts refuses the client keys" in stage["found"]
    assert "Create a new pair" in stage["found"]
    assert "check host and environment" in stage["remedy"]


def test_a_clock_that_is_wrong_by_two_hours(call: Call, clock_wrong_by_two_hours: None) -> None:
    told = call("doctor", "--json")
    stage = told.stage("Clock")
    assert told.code == 1
    assert stage["outcome"] == "failed"
    assert "120 min behind that of Accounts" in stage["found"]
    assert "NTP" in stage["remedy"]
    # Tokens do not suffer.
    assert told.outcomes["Access token"] == told.outcomes["Nodes"] == "passed"


def test_a_clock_is_held_against_that_of_vault_as_well(call: Call) -> None:
    findings = examine("bloq_default", thorough=True, now=lambda: time.time() + 7200)
    (clock,) = [finding for finding in findings if finding.stage == "Clock"]
    assert "120 min ahead of that of Vault" in clock.found
    assert "120 min ahead of that of Accounts" in clock.found


def test_an_accounts_that_cannot_be_reached(call: Call, connect: Connect) -> None:
    (nobody,) = free_ports(1)
    connect(host=f"http://127.0.0.1:{nobody}")
    told = call("doctor", "--json")
    stage = told.stage("Access token")
    assert told.code == 1
    assert stage["outcome"] == "failed"
    assert f"http://127.0.0.1:{nobody}" in stage["found"]
    assert stage["remedy"] == "Is the host (Accounts) right, and may this machine reach it?"
    assert told.outcomes["Clock"] == "passed", "Vault tells the time, too"


def test_a_node_whose_certificate_has_changed(call: Call, node: str, certificate_changed: str) -> None:
    told = call("doctor", "--json")
    # The connection has been defined before the change.
    stage = told.stage("Node")
    assert told.code == 1
    assert stage["outcome"] == "failed"
    assert certificate_changed in stage["found"]
    assert "not the pinned one" in stage["found"]
    assert "renewed" in stage["remedy"]


def test_a_node_that_is_not_pinned_is_a_warning_with_what_to_pin(
    call: Call, connect: Connect, stack: LocalStack, node: str
) -> None:
    connect({"node_fingerprints": {}})
    told = call("doctor", "--json", "--node", node)
    stage = told.stage("Node")
    assert told.code == 0
    assert stage["outcome"] == "warned"
    assert (
        f'{{"node_fingerprints": {{"{node}": ["{stack.bloq.node_fingerprint(node)}"]}}}}' in stage["remedy"]
    )


def test_a_node_that_does_not_exist(call: Call) -> None:
    told = call("doctor", "--json", "--node", "node-none")
    assert told.code == 1
    assert told.outcomes["Node"] == "failed"
    assert "node-none" in told.stage("Node")["found"]


def test_a_refresh_token_that_is_refused_is_a_warning(call: Call, stack: LocalStack) -> None:
    fault = stack.bloq.add_fault(
        Fault(kind=FaultKind.STATUS, service="accounts", status=401, path="*/auth/token", after=1)
    )
    try:
        told = call("doctor", "--json")
    finally:
        stack.bloq.clear_faults(fault)
    assert told.code == 0
    assert told.outcomes["Refresh"] == "warned"
    assert "refuses its own refresh token" in told.stage("Refresh")["found"]


def test_a_reader_has_no_keys_and_needs_a_shared_token(
    call: Call, connect: Connect, stack: LocalStack
) -> None:
    extra = {"vault_path": "", "vault_conn_id": "vault_bloq", "sharing": "vault"}
    everything = {"login": "", "password": stack.vault.root_token, "extra": {"auth_type": "token"}}
    connect({**extra, "shared_vault_path": "bloq/shared-of-nobody"}, everything)
    told = call("doctor", "--json")
    assert told.code == 1
    assert "Client keys" not in told.outcomes
    assert told.outcomes["Shared token"] == "failed"
    assert "holds no access token" in told.stage("Shared token")["found"]
    assert told.outcomes["Nodes"] == "skipped"


def test_wrong_fields_end_the_check_and_are_all_named(call: Call, connect: Connect) -> None:
    connect({"timeout": 0, "nodes_url": "ftp://x"})
    told = call("doctor", "--json")
    assert told.code == 1
    assert told.outcomes == {"Connection": "failed"}
    found = told.stage("Connection")["found"]
    assert "timeout: " in found
    assert "nodes_url: " in found


def test_plain_lines_in_a_pipe_colours_on_a_terminal(
    call: Call, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect({"vault_path": "bloq/elsewhere"})
    piped = call("doctor")
    assert "\x1b" not in piped.out
    lines = piped.out.splitlines()
    assert lines[0].startswith("PASSED   Connection")
    assert lines[2].startswith("FAILED   Client keys")
    assert lines[3].strip().startswith("What to do: ")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    shown = call("doctor")
    assert "\x1b[" in shown.out
    assert "Checking" in shown.err or "…" in shown.err


def test_nothing_secret_is_shown(call: Call, connect: Connect, stack: LocalStack) -> None:
    secrets = [stack.keys.client_secret, stack.connections()["vault_bloq"]["password"], "eyJ"]
    for extra in ({}, {"vault_key_field": "nope"}):
        connect(extra)
        for arguments in (("doctor",), ("doctor", "--json")):
            told = call(*arguments)
            assert not [secret for secret in secrets if secret in told.out + told.err]
