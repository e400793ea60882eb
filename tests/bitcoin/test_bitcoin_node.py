"""A real Bitcoin node: how it starts, and that nothing of it is left."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from airflow_provider_bloq.exceptions import BloqRpcError
from airflow_provider_bloq.testing.bitcoind import Bitcoind
from airflow_provider_bloq.testing.errors import TestingSetupError
from tests.anvil.lifeline import Lifeline

pytestmark = pytest.mark.bitcoind

Script = Callable[..., "subprocess.Popen[str]"]

OWNER = """
import sys
from airflow_provider_bloq.testing.bitcoind import Bitcoind
node = Bitcoind().start()
print(node.url, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that temporary files of this process go to."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def port_of(node: Bitcoind) -> int:
    port = urlsplit(node.url).port
    assert port is not None
    return port


def test_it_starts_with_blocks_and_takes_itself_to_be_synced(bitcoin: Bitcoind) -> None:
    info = bitcoin.rpc("getblockchaininfo")
    assert (info["chain"], info["initialblockdownload"]) == ("regtest", False)
    assert info["blocks"] == info["headers"] == bitcoin.height >= 150


def test_without_blocks_it_is_in_its_initial_download(bitcoind: list[str]) -> None:
    with Bitcoind(blocks=0) as node:
        info = node.rpc("getblockchaininfo")
        assert (info["blocks"], info["initialblockdownload"]) == (0, True)
        node.mine()
        assert node.rpc("getblockchaininfo")["initialblockdownload"] is False


def test_two_nodes_run_side_by_side(bitcoin: Bitcoind) -> None:
    with Bitcoind(blocks=3) as other:
        assert other.height == 3
        assert other.block_hash(1) != bitcoin.block_hash(1)
        assert port_of(other) != port_of(bitcoin)


def test_it_listens_on_loopback_and_wants_a_login(bitcoin: Bitcoind) -> None:
    split = urlsplit(bitcoin.url)
    assert split.hostname == "127.0.0.1"
    body: dict[str, Any] = {"id": 1, "method": "getblockcount"}
    right = (bitcoin.user, bitcoin.password)
    assert right == (split.username, split.password)
    for login, status in ((None, 401), ((bitcoin.user, "wrong"), 401), (right, 200)):
        answer = requests.post(f"http://127.0.0.1:{split.port}/", json=body, auth=login, timeout=30)
        assert answer.status_code == status


def test_its_password_stands_in_no_command_line(bitcoin: Bitcoind) -> None:
    command_line = Path(f"/proc/{bitcoin.process.pid}/cmdline")
    if not command_line.exists():
        pytest.skip("reads command lines from /proc, which this system does not have")
    assert b"bitcoind" in command_line.read_bytes()
    assert bitcoin.password.encode() not in command_line.read_bytes()
    assert bitcoin.password not in bitcoin.process.log_tail(2_000)


def test_errors_have_their_codes(bitcoin: Bitcoind) -> None:
    for call, code in (
        (("getblockhash", 10**6), -8),
        (("getrawtransaction", "00" * 32, 1), -5),
        (("noSuchMethod",), -32601),
        (("getnewaddress",), -32601),
    ):
        with pytest.raises(BloqRpcError) as wrong:
            bitcoin.rpc(*call)
        assert (wrong.value.method, wrong.value.code) == (call[0], code)


def test_stop_leaves_neither_process_nor_folder(bitcoind: list[str], temporary: Path) -> None:
    node = Bitcoind().start()
    pid = node.process.pid
    (home,) = temporary.iterdir()
    assert (home.stat().st_mode & 0o777, (home / "bitcoin.conf").stat().st_mode & 0o777) == (0o700, 0o600)
    node.stop()
    assert list(temporary.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    for use in (lambda: node.url, lambda: node.process, lambda: node.height):
        with pytest.raises(RuntimeError, match="was not started"):
            use()
    node.stop()


def test_started_again_it_is_a_fresh_chain_with_another_password(bitcoind: list[str]) -> None:
    node = Bitcoind(blocks=101)
    with node:
        first = (node.url, node.block_hash(101), node.coin())
        assert node.coin() != first[2]
        with pytest.raises(RuntimeError, match="already running"):
            node.start()
        node.mine()
    with node:
        assert node.height == 101
        assert node.coin() != first[2]
        assert node.height == 101, "it begins with the first coin again"
        assert (node.url, node.block_hash(101)) != first[:2]


def test_a_port_in_use_is_told_and_nothing_is_left(bitcoin: Bitcoind, temporary: Path) -> None:
    with pytest.raises(TestingSetupError, match="Unable to start HTTP server"):
        Bitcoind(port=port_of(bitcoin)).start()
    assert list(temporary.iterdir()) == []


def test_a_program_that_is_no_bitcoind_is_told_with_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, temporary: Path
) -> None:
    program = tmp_path / "bitcoind"
    program.write_text("#!/bin/sh\necho 'I am something else'\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("BLOQ_BITCOIND", str(program))
    with pytest.raises(TestingSetupError, match=r"status 3(.|\n)*I am something else"):
        Bitcoind().start()
    assert list(temporary.iterdir()) == []


@pytest.fixture
def wrap(bitcoind: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have some shell commands run before bitcoind, in its process."""

    def install(commands: str) -> None:
        wrapper = tmp_path / "wrapped-bitcoind"
        program = " ".join(f"'{argument}'" for argument in bitcoind)
        wrapper.write_text(f'#!/bin/sh\n{commands}\nexec {program} "$@"\n')
        wrapper.chmod(0o755)
        monkeypatch.setenv("BLOQ_BITCOIND", str(wrapper))

    return install


def test_the_node_sees_nothing_of_its_surroundings(
    monkeypatch: pytest.MonkeyPatch, temporary: Path, wrap: Callable[[str], None]
) -> None:
    monkeypatch.setenv("SOME_SECRET", "canary")
    wrap('env; echo "works in $(pwd)"')
    with Bitcoind(blocks=0) as node:
        log = node.process.log_tail(1_000)
        (home,) = temporary.iterdir()
    assert "canary" not in log
    assert f"HOME={home}\n" in log
    assert f"works in {home}\n" in log


def test_it_ends_when_its_owner_is_killed(
    run_script: Script, lifeline: Lifeline, temporary: Path, wrap: Callable[[str], None]
) -> None:
    wrap(f"exec 3>'{lifeline.path}'; echo held >&3")
    owner = run_script(OWNER, TMPDIR=str(temporary))
    lifeline.wait_held()
    assert owner.stdout is not None
    assert owner.stdout.readline().startswith("http://")
    owner.kill()
    owner.wait()
    lifeline.wait_ended()
