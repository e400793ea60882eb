"""A real Ethereum chain on this machine, run by anvil; nothing is left behind."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Self

from airflow_provider_bloq.testing.anvil_download import ANVIL_VARIABLE, fetched_anvil
from airflow_provider_bloq.testing.downloads import chosen_program
from airflow_provider_bloq.testing.process import ChildProcess

__all__ = [
    "Anvil",
    "anvil_binary",
]


_LISTENING = re.compile(r"^Listening on 127\.0\.0\.1:(\d+)$")
#: Seconds until anvil listens; half a second on an idle machine.
_START_TIMEOUT = 60.0
#: States of the chain kept in memory. Without a limit anvil writes gigabytes to disk; with 0,
#: ``anvil_reorg`` does not work.
_KEPT_STATES = 64


def anvil_binary() -> Path:
    """Return the anvil binary that ``BLOQ_ANVIL`` names, or else a checked download.

    :raises TestingSetupError: There is none for this platform, or it could not be downloaded.
    """
    return chosen_program(ANVIL_VARIABLE, "anvil") or fetched_anvil()


class Anvil:
    """A chain with funded, unlocked accounts, on 127.0.0.1; a context manager.

    It needs no login and ends with this process. After :meth:`stop` it may be started again, with a new chain.

    :param port: Port to listen on; 0 takes a free one.
    :param chain_id: What ``eth_chainId`` answers.
    :param block_time: Seconds between blocks; None mines a block for each transaction.
    :param accounts: Number of accounts, with 10,000 ether each.
    """

    def __init__(
        self, *, port: int = 0, chain_id: int = 31337, block_time: float | None = None, accounts: int = 10
    ) -> None:
        self._port = port
        self._chain_id = chain_id
        self._block_time = block_time
        self._accounts = accounts
        self._process: ChildProcess | None = None
        self._home: Path | None = None
        self._url: str | None = None

    def start(self) -> Self:
        """Start the chain and wait until it answers.

        :raises TestingSetupError: There is no anvil, or it does not start, for example because the port is in use.
        :raises RuntimeError: It is already running.
        """
        if self._process is not None:
            raise RuntimeError("anvil is already running")
        binary = anvil_binary()
        self._home = Path(tempfile.mkdtemp(prefix="bloq-anvil-"))
        self._process = ChildProcess(
            self._argv(binary), env=_environment(self._home), cwd=self._home, name="anvil"
        )
        try:
            self._process.start()
            listening = self._process.wait_for(_LISTENING, _START_TIMEOUT)
        except BaseException:
            self.stop()
            raise
        self._url = f"http://127.0.0.1:{listening[1]}"
        return self

    def stop(self) -> None:
        """End the chain and delete its files. Does nothing if it is not running."""
        if self._process is not None:
            self._process.stop()
        if self._home is not None:
            shutil.rmtree(self._home)
        self._process = self._home = self._url = None

    @property
    def url(self) -> str:
        """Address of its JSON-RPC over HTTP.

        :raises RuntimeError: It is not running.
        """
        if self._url is None:
            raise RuntimeError("anvil was not started")
        return self._url

    @property
    def process(self) -> ChildProcess:
        """The process, for its id and its log.

        :raises RuntimeError: It is not running.
        """
        if self._process is None:
            raise RuntimeError("anvil was not started")
        return self._process

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _argv(self, binary: Path) -> list[str | Path]:
        argv: list[str | Path] = [binary, "--host", "127.0.0.1", "--port", str(self._port)]
        argv += ["--chain-id", str(self._chain_id), "--accounts", str(self._accounts)]
        argv += ["--prune-history", str(_KEPT_STATES)]
        if self._block_time is not None:
            argv += ["--block-time", f"{self._block_time:g}"]
        return argv


def _environment(home: Path) -> dict[str, str]:
    # Nothing else: variables such as ANVIL_IP_ADDR change what anvil does, and a chain needs no secrets.
    # The folder is also the working directory, in which anvil would read a .env file.
    return {"HOME": str(home), "TMPDIR": str(home), "PATH": os.environ.get("PATH", os.defpath)}
