"""A real chain: what it answers, and that nothing of it is left."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_provider_bloq.testing.anvil import Anvil, anvil_binary
from airflow_provider_bloq.testing.errors import TestingSetupError
from tests.anvil.lifeline import Lifeline

pytestmark = pytest.mark.anvil

Call = Callable[..., Any]
Script = Callable[..., "subprocess.Popen[str]"]

OWNER = """
import sys
from airflow_provider_bloq.testing.anvil import Anvil
chain = Anvil().start()
print(chain.url, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that temporary files of this process go to."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_it_is_the_pinned_version() -> None:
    told = subprocess.run([anvil_binary(), "--version"], check=True, capture_output=True, text=True)
    assert "Version: 1.7.1" in told.stdout


def test_the_chain_has_the_asked_id_and_accounts(call: Call) -> None:
    with Anvil(chain_id=1, accounts=3) as chain:
        assert call(chain.url, "eth_chainId") == "0x1"
        assert len(call(chain.url, "eth_accounts")) == 3


def test_each_transaction_is_mined_in_a_separate_block(anvil: Anvil, call: Call) -> None:
    sender, receiver = call(anvil.url, "eth_accounts")[:2]
    # The plain eth_sendTransaction may answer before the block is there.
    receipt = call(anvil.url, "eth_sendTransactionSync", {"from": sender, "to": receiver, "value": "0x1"})
    assert receipt["status"] == "0x1"
    assert call(anvil.url, "eth_blockNumber") == receipt["blockNumber"] == "0x1"


def test_with_a_block_time_transactions_wait_for_the_next_block(call: Call) -> None:
    with Anvil(block_time=3600) as chain:
        sender = call(chain.url, "eth_accounts")[0]
        sent = call(chain.url, "eth_sendTransaction", {"from": sender, "to": sender})
        assert call(chain.url, "eth_getTransactionReceipt", sent) is None


def test_a_deep_reorg_takes_back_a_transaction(anvil: Anvil, call: Call) -> None:
    call(anvil.url, "anvil_mine", "0xc8")
    sender = call(anvil.url, "eth_accounts")[0]
    sent = call(anvil.url, "eth_sendTransactionSync", {"from": sender, "to": sender})["transactionHash"]
    call(anvil.url, "anvil_mine", "0x14")
    before = call(anvil.url, "eth_getBlockByNumber", "0xc9", False)
    assert before["transactions"] == [sent]
    call(anvil.url, "anvil_reorg", 40, [])
    after = call(anvil.url, "eth_getBlockByNumber", "0xc9", False)
    assert after["transactions"] == []
    assert after["hash"] != before["hash"]


def test_a_long_chain_writes_no_files(temporary: Path, call: Call) -> None:
    with Anvil() as chain:
        # By default anvil begins to write states to disk after 500 blocks.
        call(chain.url, "anvil_mine", "0x2ee")
        (home,) = temporary.iterdir()
        assert list(home.rglob("*")) == []


def test_two_chains_run_side_by_side(anvil: Anvil, call: Call) -> None:
    with Anvil(chain_id=5) as other:
        call(other.url, "anvil_mine", "0x2")
        assert call(other.url, "eth_chainId") == "0x5"
        assert call(anvil.url, "eth_chainId") == "0x7a69"
        assert call(anvil.url, "eth_blockNumber") == "0x0"


def test_stop_leaves_neither_process_nor_folder(temporary: Path) -> None:
    chain = Anvil().start()
    pid = chain.process.pid
    assert len(list(temporary.iterdir())) == 1
    chain.stop()
    assert list(temporary.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RuntimeError):
        _ = chain.url
    chain.stop()


def test_started_again_it_is_a_fresh_chain(call: Call) -> None:
    chain = Anvil()
    with chain:
        call(chain.url, "anvil_mine", "0x2")
    with chain:
        assert call(chain.url, "eth_blockNumber") == "0x0"


def test_a_port_in_use_is_an_error_and_leaves_nothing(anvil: Anvil, temporary: Path) -> None:
    taken = urlsplit(anvil.url).port
    assert taken is not None
    with pytest.raises(TestingSetupError, match="(?i)address already in use"):
        Anvil(port=taken).start()
    assert list(temporary.iterdir()) == []


@pytest.fixture
def wrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have some shell commands run before anvil, in its process."""

    def install(commands: str) -> None:
        wrapper = tmp_path / "wrapped-anvil"
        wrapper.write_text(f"#!/bin/sh\n{commands}\nexec '{anvil_binary()}' \"$@\"\n")
        wrapper.chmod(0o755)
        monkeypatch.setenv("BLOQ_ANVIL", str(wrapper))

    return install


def test_the_chain_sees_nothing_of_its_surroundings(
    monkeypatch: pytest.MonkeyPatch, temporary: Path, wrap: Callable[[str], None]
) -> None:
    monkeypatch.setenv("ANVIL_IP_ADDR", "127.0.0.9")
    monkeypatch.setenv("SOME_SECRET", "canary")
    wrap('env; echo "works in $(pwd)"')
    with Anvil() as chain:
        log = chain.process.log_tail(1_000)
        (home,) = temporary.iterdir()
    assert "canary" not in log
    assert "127.0.0.9" not in log
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
