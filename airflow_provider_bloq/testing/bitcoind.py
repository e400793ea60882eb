"""A real Bitcoin node on this machine: bitcoind with a chain of its own, nothing left behind."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any, Self

import requests

from airflow_provider_bloq.exceptions import BloqRpcError
from airflow_provider_bloq.testing.bitcoin_chain import BitcoinChain
from airflow_provider_bloq.testing.bitcoind_program import bitcoind_command
from airflow_provider_bloq.testing.errors import TestingSetupError
from airflow_provider_bloq.testing.process import ChildProcess

__all__ = ["Bitcoind"]

_HOST = "127.0.0.1"
_USER = "bloq"
_READY = re.compile(r"init message: Done loading")
_PORT_TAKEN = "Unable to start HTTP server"
_PORT_ATTEMPTS = 20
#: Seconds until it is ready; two tenths of one on an idle machine.
_START_TIMEOUT = 60.0
#: Seconds for one call; to mine a thousand blocks takes about one.
_CALL_TIMEOUT = 120.0
#: No peers, no wallet, and room for the calls of many tests at once. A file,
#: since all users of the machine can read a command line.
_CONFIGURATION = """\
regtest=1
server=1
rest=1
listen=0
dnsseed=0
disablewallet=1
txindex={index:d}
dbcache=64
persistmempool=0
printtoconsole=1
nodebuglogfile=1
rpcworkqueue=256
[regtest]
connect=0
rpcbind={host}
rpcallowip={host}
rpcport={port}
rpcuser={user}
rpcpassword={password}
"""


class Bitcoind(BitcoinChain):
    """One regtest chain of its own on 127.0.0.1, gone with this process.

    Callers log in by HTTP Basic. Usable as a context manager; after :meth:`stop` it may be started again,
    with a fresh chain. As what stands behind Bitcoin nodes of the local service:
    ``LocalBloqOptions(upstreams={"btc": Bitcoind})``.

    :param port: Port to listen on; 0 takes a free one.
    :param blocks: Blocks to mine at the start. Those older than a hundred blocks give coins to spend, and
        without any the node takes itself to be in its initial download.
    :param index: Whether it keeps an index of all transactions. Without one it can tell only of those that
        wait in its mempool.
    """

    def __init__(self, *, port: int = 0, blocks: int = 150, index: bool = True) -> None:
        super().__init__()
        self._wanted_port = port
        self._blocks = blocks
        self._index = index
        self._process: ChildProcess | None = None
        self._home: Path | None = None
        self._port: int | None = None
        self._session: requests.Session | None = None
        self.user = _USER
        self.password = ""

    def start(self) -> Self:
        """Start the node, wait until it answers and mine the first blocks.

        :raises TestingSetupError: There is no bitcoind, or it does not start, such as on a port in use.
        :raises RuntimeError: It runs already.
        """
        if self._process is not None:
            raise RuntimeError("bitcoind runs already")
        command = bitcoind_command()
        self._home = Path(tempfile.mkdtemp(prefix="bloq-bitcoind-"))
        self.password = secrets.token_hex(16)
        try:
            self._launch(command, self._home)
            self._session = _session(self.user, self.password)
            self._begin()
            if self._blocks:
                self.mine(self._blocks)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the node and delete its chain. Does nothing if it does not run."""
        if self._session is not None:
            self._session.close()
        if self._process is not None:
            self._process.stop()
        if self._home is not None:
            shutil.rmtree(self._home)
        self._process = self._home = self._port = self._session = None

    @property
    def url(self) -> str:
        """Address of its JSON-RPC over HTTP, with user and password in it.

        :raises RuntimeError: It does not run.
        """
        if self._port is None:
            raise RuntimeError("bitcoind was not started")
        return f"http://{self.user}:{self.password}@{_HOST}:{self._port}"

    @property
    def process(self) -> ChildProcess:
        """The process, for its id and its log.

        :raises RuntimeError: It does not run.
        """
        if self._process is None:
            raise RuntimeError("bitcoind was not started")
        return self._process

    def rpc(self, method: str, *params: Any) -> Any:
        """See :meth:`BitcoinChain.rpc`."""
        if self._session is None or self._port is None:
            raise RuntimeError("bitcoind was not started")
        answer = self._session.post(
            f"http://{_HOST}:{self._port}/",
            json={"jsonrpc": "1.0", "id": 1, "method": method, "params": params},
            timeout=_CALL_TIMEOUT,
        )
        if answer.status_code not in (200, 404, 500):
            raise BloqRpcError(None, f"HTTP {answer.status_code}: {answer.text[:300]}", None, method)
        content = answer.json()
        if content["error"] is not None:
            raise BloqRpcError(content["error"]["code"], content["error"]["message"], None, method)
        return content["result"]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self, command: list[str], home: Path) -> None:
        for left in reversed(range(1 if self._wanted_port else _PORT_ATTEMPTS)):
            port = self._wanted_port or _free_port()
            process = self._process = self._process_at(port, command, home)
            try:
                process.start()
                process.wait_for(_READY, _START_TIMEOUT)
            except TestingSetupError as error:
                # Between the look for a free port and the node's bind, another program may take it.
                if not left or _PORT_TAKEN not in str(error):
                    raise
                process.stop()
            else:
                self._port = port
                return

    def _process_at(self, port: int, command: list[str], home: Path) -> ChildProcess:
        configuration = home / "bitcoin.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            _CONFIGURATION.format(
                host=_HOST, port=port, user=self.user, password=self.password, index=self._index
            )
        )
        return ChildProcess(
            [*command, f"-datadir={home}"],
            # Nothing else: a chain needs no secrets.
            env={"HOME": str(home), "PATH": os.environ.get("PATH", os.defpath)},
            cwd=home,
            name="bitcoind",
        )


def _session(user: str, password: str) -> requests.Session:
    session = requests.Session()
    # Neither proxies nor the passwords of the user's .netrc.
    session.trust_env = False
    session.auth = (user, password)
    return session


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as server:
        return int(server.getsockname()[1])
