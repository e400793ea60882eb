"""Bitcoin transactions that need neither wallet nor keys: each coin is locked by a script that is always true."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import socket
import struct
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import requests

from airflow_provider_bloq.exceptions import BloqRpcError
from airflow_provider_bloq.testing.bitcoind_download import bitcoind_command
from airflow_provider_bloq.testing.errors import TestingSetupError
from airflow_provider_bloq.testing.process import ChildProcess

__all__ = [
    "ANYONE",
    "BitcoinChain",
    "Bitcoind",
    "Coin",
    "Payment",
    "descriptor",
    "fresh_script",
    "locking_script",
    "pay",
]


#: The witness script OP_TRUE: whoever shows it may spend the coin.
ANYONE = b"\x51"
#: Signals that the transaction may be replaced (BIP 125), for nodes that ask for the signal.
_REPLACEABLE = struct.pack("<I", 0xFFFFFFFD)
_VERSION = struct.pack("<i", 2)
_LOCK_TIME = bytes(4)
_SEGWIT = b"\x00\x01"


@dataclass(frozen=True, slots=True)
class Coin:
    """An output that can be spent.

    :param txid: Id of the transaction that made it.
    :param index: Its place among that transaction's outputs.
    :param satoshi: Its value.
    :param script: Its witness script, which must be true by itself.
    """

    txid: str
    index: int
    satoshi: int
    script: bytes = ANYONE


@dataclass(frozen=True, slots=True)
class Payment:
    """A transaction that can be sent.

    :param txid: Its id.
    :param raw: The transaction in hexadecimal, as ``sendrawtransaction`` takes it.
    :param coins: Its outputs.
    """

    txid: str
    raw: str
    coins: tuple[Coin, ...]


def locking_script(script: bytes) -> bytes:
    """Return the output script that pays to a witness script (P2WSH, BIP 141)."""
    return b"\x00\x20" + hashlib.sha256(script).digest()


def fresh_script() -> bytes:
    """Return a witness script that is true and that nobody had before."""
    # Pushes these nine bytes, which are true since they are not all zero.
    return b"\x09" + secrets.token_bytes(8) + b"\x01"


def descriptor(script: bytes) -> str:
    """Return the descriptor by which a node mines to a witness script."""
    return f"raw({locking_script(script).hex()})"


def pay(coins: Sequence[Coin], *, fee: int, outputs: int = 1) -> Payment:
    """Make a transaction that spends coins into new ones of equal value.

    Spend the same coin again with another fee, and it is another transaction, which conflicts with the first.

    :param coins: What it spends, wholly.
    :param fee: Satoshi that are left to the miner. A transaction with one coin and one output has a virtual
        size of 96 bytes, and nodes do not relay it for less than about a satoshi per byte.
    :param outputs: How many coins it makes, all locked by :data:`ANYONE`. What does not divide by it is
        left to the miner, too.
    :raises ValueError: The coins do not suffice.
    """
    value = (sum(coin.satoshi for coin in coins) - fee) // outputs
    if value <= 0:
        raise ValueError(f"{len(coins)} coin(s) do not suffice for {outputs} output(s) and a fee of {fee}")
    inputs = b"".join(
        bytes.fromhex(coin.txid)[::-1] + struct.pack("<I", coin.index) + _sized(b"") + _REPLACEABLE
        for coin in coins
    )
    made = (struct.pack("<q", value) + _sized(locking_script(ANYONE))) * outputs
    body = _counted(len(coins)) + inputs + _counted(outputs) + made
    witness = b"".join(_counted(1) + _sized(coin.script) for coin in coins)
    # The id leaves the witness out.
    txid = _double_sha256(_VERSION + body + _LOCK_TIME)[::-1].hex()
    return Payment(
        txid=txid,
        raw=(_VERSION + _SEGWIT + body + witness + _LOCK_TIME).hex(),
        coins=tuple(Coin(txid, index, value) for index in range(outputs)),
    )


def _double_sha256(content: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(content).digest()).digest()


def _sized(content: bytes) -> bytes:
    return _counted(len(content)) + content


def _counted(count: int) -> bytes:
    # Bitcoin's CompactSize.
    if count < 0xFD:
        return bytes((count,))
    if count <= 0xFFFF:
        return b"\xfd" + struct.pack("<H", count)
    return b"\xfe" + struct.pack("<I", count)


#: Blocks from that of a coinbase to the first that may spend it.
_MATURITY = 100
_SATOSHI = 100_000_000
#: Seconds after which a node has given up on every transaction that is not in a block: two weeks and a day.
_GIVEN_UP = 15 * 86_400


class BitcoinChain(ABC):
    """A regtest chain whose blocks come when they are asked for. No wallet takes part."""

    def __init__(self) -> None:
        #: What each branch pays its blocks to, in the order of the branches. Blocks on the same parent that
        #: are made in the same second would else be one and the same, which the node may have rejected.
        self._branches: list[bytes] = []
        #: The height up to which coins were given out.
        self._given = 0

    @abstractmethod
    def rpc(self, method: str, *params: Any) -> Any:
        """Call a method of the node.

        :param method: Such as ``getblockcount``.
        :param params: Its parameters.
        :return: The ``result``.
        :raises BloqRpcError: The node answered with an error.
        """

    @property
    def height(self) -> int:
        """The number of the newest block."""
        height: int = self.rpc("getblockcount")
        return height

    def block_hash(self, height: int) -> str:
        """Return the hash of a block of the best chain.

        :raises BloqRpcError: There is none yet.
        """
        found: str = self.rpc("getblockhash", height)
        return found

    def mine(self, blocks: int = 1) -> list[str]:
        """Mine blocks with what waits in the mempool and return their hashes."""
        hashes: list[str] = self.rpc("generatetodescriptor", blocks, self._payee)
        return hashes

    def mine_only(self, *payments: Payment) -> str:
        """Mine one block with these payments, in this order, and nothing of the mempool; return its hash.

        They need not have been sent before.
        """
        made = self.rpc("generateblock", self._payee, [payment.raw for payment in payments])
        block: str = made["hash"]
        return block

    def coin(self) -> Coin:
        """Return a coin that can be spent now and that was not given out before.

        Mines blocks if it must, with nothing of the mempool in them. One coin can be made into many by
        :func:`~airflow_provider_bloq.testing.bitcoind.pay`.
        """
        while True:
            self._given += 1
            while self.height + 1 < self._given + _MATURITY:
                self.mine_only()
            coin = self._coinbase(self._given)
            if coin is not None:
                return coin

    def send(self, payment: Payment) -> str:
        """Give a payment to the node, as a wallet would, and return its id. Any fee but none is accepted.

        :raises BloqRpcError: The node does not take it: code -26 if the fee is too low, or too low to
            replace another; -25 if a coin is spent or unknown.
        """
        txid: str = self.rpc("sendrawtransaction", payment.raw, 0)
        return txid

    def forget_unconfirmed(self) -> None:
        """Make the node give up on all that waits in its mempool, as it does after two weeks.

        One payment that nobody knows is in the mempool afterwards.
        """
        unknown = pay([self.coin()], fee=10_000)
        self.rpc("setmocktime", int(time.time()) + _GIVEN_UP)
        try:
            # The node looks for old transactions when a new one comes.
            self.send(unknown)
        finally:
            self.rpc("setmocktime", 0)

    def fork(self, depth: int) -> list[str]:
        """Let another branch win: in place of the last blocks come empty ones, and one more.

        What was in the old blocks waits in the mempool again; of blocks deeper than ten it is forgotten.

        :param depth: How many blocks are replaced.
        :return: The hashes of the new blocks, ``depth + 1`` of them.
        """
        self.invalidate(self.block_hash(self.height - depth + 1))
        return [self.mine_only() for _ in range(depth + 1)]

    def invalidate(self, block: str) -> None:
        """Have the node reject a block and all that follow it; it goes back to the one before.

        :param block: Hash of the block.
        """
        self.rpc("invalidateblock", block)
        self._branches.append(fresh_script())

    def reconsider(self, block: str) -> None:
        """Take back :meth:`invalidate`; the branch with more work wins.

        :param block: Hash of the block.
        """
        self.rpc("reconsiderblock", block)

    def _begin(self) -> None:
        """Note that the chain is a fresh one."""
        self._branches, self._given = [fresh_script()], 0

    @property
    def _payee(self) -> str:
        return descriptor(self._branches[-1])

    def _coinbase(self, height: int) -> Coin | None:
        """Return what the miner of a block got; None if it cannot be spent from here."""
        transaction = self.rpc("getblock", self.block_hash(height), 2)["tx"][0]
        output = transaction["vout"][0]
        for script in self._branches:
            if output["scriptPubKey"]["hex"] == locking_script(script).hex():
                return Coin(transaction["txid"], 0, round(output["value"] * _SATOSHI), script)
        return None


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
