"""``doctor``: every stage in its order, and cause and remedy of each failure."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from airflow_provider_bloq.doctor.checks import check_stages
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
    """The node's certificate is not the one that the connection has."""
    connect()
    return stack.bloq.replace_node_certificate(node)


def test_a_good_connection_passes_every_stage_in_its_order(call: Call, node: str) -> None:
    output = call("doctor", "--json")
    assert output.code == 0
    assert output.json["good"] is True
    assert output.outcomes == dict.fromkeys(STAGES, "passed")
    assert list(output.outcomes) == STAGES
    assert all(stage["seconds"] >= 0 and not stage["remedy"] for stage in output.json["stages"])
    assert "approle" in output.stage("Vault")["found"]
    assert f"Vault path '{KEYS_PATH}'" in output.stage("Client keys")["found"]
    assert "expires in 60 min" in output.stage("Access token")["found"]
    assert node in output.stage("Node")["found"]
    assert "the pinned one" in output.stage("Node")["found"]


def test_a_sealed_vault(call: Call, sealed: None) -> None:
    output = call("doctor", "--json")
    assert output.code == 1
    stage = output.stage("Vault")
    assert stage["outcome"] == "failed"
    assert "is sealed" in stage["found"]
    assert "vault operator unseal" in stage["remedy"]
    # Stages that do not need it still run.
    assert output.outcomes["Clock"] == output.outcomes["Connect"] == "passed"
    assert output.outcomes["Access token"] == output.outcomes["Node"] == "skipped"


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
    output = call("doctor", "--json")
    stage = output.stage("Client keys")
    assert output.code == 1
    assert stage["outcome"] == "failed"
    assert "no field 'secret_of_client'; it has 'clientId', 'clientSecret'" in stage["found"]
    assert stage["remedy"] == "Set vault_key_field to the right name, or add the field to the secret."


def test_keys_that_are_refused(call: Call, keys_that_are_refused: None) -> None:
    output = call("doctor", "--json")
    stage = output.stage("Access token")
    assert output.code == 1
    assert output.outcomes["Client keys"] == "passed"
    assert stage["outcome"] == "failed"
    assert "Accounts refuses the client keys" in stage["found"]
    assert "Create a new pair" in stage["found"]
    assert "check host and environment" in stage["remedy"]


def test_a_clock_that_is_wrong_by_two_hours(call: Call, clock_wrong_by_two_hours: None) -> None:
    output = call("doctor", "--json")
    stage = output.stage("Clock")
    assert output.code == 1
    assert stage["outcome"] == "failed"
    assert "120 min behind that of Accounts" in stage["found"]
    assert "NTP" in stage["remedy"]
    # Tokens are not affected.
    assert output.outcomes["Access token"] == output.outcomes["Nodes"] == "passed"


def test_the_clock_is_compared_with_that_of_vault_as_well(call: Call) -> None:
    findings = check_stages("bloq_default", thorough=True, now=lambda: time.time() + 7200)
    (clock,) = [finding for finding in findings if finding.stage == "Clock"]
    assert "120 min ahead of that of Vault" in clock.found
    assert "120 min ahead of that of Accounts" in clock.found


def test_an_unreachable_accounts(call: Call, connect: Connect) -> None:
    (nobody,) = free_ports(1)
    connect(host=f"http://127.0.0.1:{nobody}")
    output = call("doctor", "--json")
    stage = output.stage("Access token")
    assert output.code == 1
    assert stage["outcome"] == "failed"
    assert f"http://127.0.0.1:{nobody}" in stage["found"]
    assert stage["remedy"] == "Is the host (Accounts) right, and may this machine reach it?"
    assert output.outcomes["Clock"] == "passed", "Vault tells the time, too"


def test_a_node_whose_certificate_has_changed(call: Call, node: str, certificate_changed: str) -> None:
    output = call("doctor", "--json")
    # The connection was defined before the change.
    stage = output.stage("Node")
    assert output.code == 1
    assert stage["outcome"] == "failed"
    assert certificate_changed in stage["found"]
    assert "not the pinned one" in stage["found"]
    assert "renewed" in stage["remedy"]


def test_a_node_that_is_not_pinned_is_a_warning_with_its_fingerprint(
    call: Call, connect: Connect, stack: LocalStack, node: str
) -> None:
    connect({"node_fingerprints": {}})
    output = call("doctor", "--json", "--node", node)
    stage = output.stage("Node")
    assert output.code == 0
    assert stage["outcome"] == "warned"
    assert (
        f'{{"node_fingerprints": {{"{node}": ["{stack.bloq.node_fingerprint(node)}"]}}}}' in stage["remedy"]
    )


def test_a_node_that_does_not_exist(call: Call) -> None:
    output = call("doctor", "--json", "--node", "node-none")
    assert output.code == 1
    assert output.outcomes["Node"] == "failed"
    assert "node-none" in output.stage("Node")["found"]


def test_a_refresh_token_that_is_refused_is_a_warning(call: Call, stack: LocalStack) -> None:
    fault = stack.bloq.add_fault(
        Fault(kind=FaultKind.STATUS, service="accounts", status=401, path="*/auth/token", after=1)
    )
    try:
        output = call("doctor", "--json")
    finally:
        stack.bloq.clear_faults(fault)
    assert output.code == 0
    assert output.outcomes["Refresh"] == "warned"
    assert "rejects its own refresh token" in output.stage("Refresh")["found"]


def test_a_reader_has_no_keys_and_needs_a_shared_token(
    call: Call, connect: Connect, stack: LocalStack
) -> None:
    extra = {"vault_path": "", "vault_conn_id": "vault_bloq", "sharing": "vault"}
    everything = {"login": "", "password": stack.vault.root_token, "extra": {"auth_type": "token"}}
    connect({**extra, "shared_vault_path": "bloq/shared-of-nobody"}, everything)
    output = call("doctor", "--json")
    assert output.code == 1
    assert "Client keys" not in output.outcomes
    assert output.outcomes["Shared token"] == "failed"
    assert "holds no access token" in output.stage("Shared token")["found"]
    assert output.outcomes["Nodes"] == "skipped"


def test_all_wrong_fields_are_named_and_end_the_check(call: Call, connect: Connect) -> None:
    connect({"timeout": 0, "nodes_url": "ftp://x"})
    output = call("doctor", "--json")
    assert output.code == 1
    assert output.outcomes == {"Connection": "failed"}
    found = output.stage("Connection")["found"]
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


def test_no_secret_is_shown(call: Call, connect: Connect, stack: LocalStack) -> None:
    secrets = [stack.keys.client_secret, stack.connections()["vault_bloq"]["password"], "eyJ"]
    for extra in ({}, {"vault_key_field": "nope"}):
        connect(extra)
        for arguments in (("doctor",), ("doctor", "--json")):
            output = call(*arguments)
            assert not [secret for secret in secrets if secret in output.out + output.err]
