"""A real Bitcoin chain on this machine, run by bitcoind in regtest mode, and transactions for it.

The transactions need neither wallet nor keys: each coin is locked by a script that is always true.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
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
from airflow_provider_bloq.testing.process import LOOPBACK, ChildProcess, on_free_port

__all__ = [
    "ANYONE",
    "BitcoinChain",
    "BitcoinPayment",
    "Bitcoind",
    "Coin",
    "descriptor",
    "fresh_script",
    "locking_script",
    "pay",
]


#: The witness script OP_TRUE, with which anyone may spend a coin.
ANYONE = b"\x51"
#: Signals that the transaction may be replaced (BIP 125), for nodes that ask for the signal.
_REPLACEABLE = struct.pack("<I", 0xFFFFFFFD)
_VERSION = struct.pack("<i", 2)
_LOCK_TIME = bytes(4)
_SEGWIT = b"\x00\x01"


@dataclass(frozen=True, slots=True)
class Coin:
    """An output that can be spent.

    :param txid: Id of its transaction.
    :param index: Its position among the outputs of that transaction.
    :param satoshi: Its value.
    :param script: Its witness script, which must evaluate to true without arguments.
    """

    txid: str
    index: int
    satoshi: int
    script: bytes = ANYONE


@dataclass(frozen=True, slots=True)
class BitcoinPayment:
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
    """Return a new random witness script that evaluates to true."""
    # Pushes these nine bytes, which are true since they are not all zero.
    return b"\x09" + secrets.token_bytes(8) + b"\x01"


def descriptor(script: bytes) -> str:
    """Return the descriptor with which a node mines to a witness script."""
    return f"raw({locking_script(script).hex()})"


def pay(coins: Sequence[Coin], *, fee: int, outputs: int = 1) -> BitcoinPayment:
    """Return a transaction that spends coins to new ones of equal value.

    A transaction that spends the same coin with another fee conflicts with the first.

    :param coins: The coins to spend.
    :param fee: Satoshi for the miner. A transaction with one coin and one output has a virtual size of
        96 bytes, and nodes do not relay it for less than about a satoshi per byte.
    :param outputs: Number of new coins, all locked by :data:`ANYONE`. The remainder of the division goes to
        the miner.
    :raises ValueError: The coins are worth less than the fee.
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
    # The witness is not part of the id.
    txid = _double_sha256(_VERSION + body + _LOCK_TIME)[::-1].hex()
    return BitcoinPayment(
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


#: Number of blocks after which a coinbase may be spent.
_MATURITY = 100
_SATOSHI = 100_000_000
#: Seconds after which a node has dropped every unconfirmed transaction: two weeks and a day.
_GIVEN_UP = 15 * 86_400


class BitcoinChain(ABC):
    """A regtest chain that mines blocks on demand, without a wallet."""

    def __init__(self) -> None:
        #: The script that each branch mines to. With the same script, two blocks on the same parent that are
        #: mined in the same second would be identical, and the node may have rejected the first.
        self._branches: list[bytes] = []
        #: Height of the block whose coin was returned last.
        self._last_spent = 0

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
        """Height of the newest block."""
        height: int = self.rpc("getblockcount")
        return height

    def block_hash(self, height: int) -> str:
        """Return the hash of a block of the best chain.

        :raises BloqRpcError: There is no block of that height.
        """
        found: str = self.rpc("getblockhash", height)
        return found

    def mine(self, blocks: int = 1) -> list[str]:
        """Mine blocks with the transactions of the mempool and return their hashes."""
        hashes: list[str] = self.rpc("generatetodescriptor", blocks, self._payee)
        return hashes

    def mine_only(self, *payments: BitcoinPayment) -> str:
        """Mine one block with only these payments, in this order, and return its hash.

        They need not have been sent before.
        """
        made = self.rpc("generateblock", self._payee, [payment.raw for payment in payments])
        block: str = made["hash"]
        return block

    def coin(self) -> Coin:
        """Return a coin that can be spent now and that was not returned before.

        Mines empty blocks if necessary. :func:`~airflow_provider_bloq.testing.bitcoind.pay` splits a coin into
        many.
        """
        while True:
            self._last_spent += 1
            while self.height + 1 < self._last_spent + _MATURITY:
                self.mine_only()
            coin = self._coinbase(self._last_spent)
            if coin is not None:
                return coin

    def send(self, payment: BitcoinPayment) -> str:
        """Send a payment to the node, whatever its fee, and return its id.

        :raises BloqRpcError: The node rejects it: code -26 if the fee is too low, or too low to replace
            another payment; -25 if a coin is spent or unknown.
        """
        txid: str = self.rpc("sendrawtransaction", payment.raw, 0)
        return txid

    def forget_unconfirmed(self) -> None:
        """Make the node drop all transactions of its mempool, as it does after two weeks.

        The mempool then contains one new payment.
        """
        trigger = pay([self.coin()], fee=10_000)
        self.rpc("setmocktime", int(time.time()) + _GIVEN_UP)
        try:
            # The node looks for expired transactions when a new one arrives.
            self.send(trigger)
        finally:
            self.rpc("setmocktime", 0)

    def fork(self, depth: int) -> list[str]:
        """Replace the last blocks by another branch of empty blocks, and return their hashes.

        The transactions of the old blocks return to the mempool, except those of blocks deeper than ten.

        :param depth: Number of blocks to replace; the new branch has one block more.
        """
        self.invalidate(self.block_hash(self.height - depth + 1))
        return [self.mine_only() for _ in range(depth + 1)]

    def invalidate(self, block: str) -> None:
        """Make the node reject a block, given by its hash, and all its successors."""
        self.rpc("invalidateblock", block)
        self._branches.append(fresh_script())

    def reconsider(self, block: str) -> None:
        """Undo :meth:`invalidate`; the branch with the most work wins."""
        self.rpc("reconsiderblock", block)

    def _begin(self) -> None:
        """Reset the state for a new chain."""
        self._branches, self._last_spent = [fresh_script()], 0

    @property
    def _payee(self) -> str:
        return descriptor(self._branches[-1])

    def _coinbase(self, height: int) -> Coin | None:
        """Return the coin that a block created; None if none of our scripts can spend it."""
        transaction = self.rpc("getblock", self.block_hash(height), 2)["tx"][0]
        output = transaction["vout"][0]
        for script in self._branches:
            if output["scriptPubKey"]["hex"] == locking_script(script).hex():
                return Coin(transaction["txid"], 0, round(output["value"] * _SATOSHI), script)
        return None


_USER = "bloq"
_READY = re.compile(r"init message: Done loading")
_PORT_TAKEN = re.compile("Unable to start HTTP server")
#: Seconds until it is ready; 0.2 on an idle machine.
_START_TIMEOUT = 60.0
#: Seconds for one call; mining a thousand blocks takes about one.
_CALL_TIMEOUT = 120.0
#: No peers, no wallet, and a queue for the calls of many tests. In a file because all users of the machine can
#: read a command line.
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
    """A regtest chain on 127.0.0.1 that ends with this process; a context manager.

    Callers log in by HTTP Basic. After :meth:`stop` it may be started again, with a new chain. To run one
    behind each Bitcoin node of the local service: ``LocalBloqOptions(upstreams={"btc": Bitcoind})``.

    :param port: Port to listen on; 0 takes a free one.
    :param blocks: Blocks to mine at the start. Blocks older than a hundred provide coins to spend; without any
        block the node believes to be in its initial download.
    :param index: Whether it keeps an index of all transactions. Without one it knows only those of its mempool.
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

        :raises TestingSetupError: There is no bitcoind, or it does not start, for example because the port is in
            use.
        :raises RuntimeError: It is already running.
        """
        if self._process is not None:
            raise RuntimeError("bitcoind is already running")
        command = bitcoind_command()
        self._home = Path(tempfile.mkdtemp(prefix="bloq-bitcoind-"))
        self.password = secrets.token_hex(16)
        try:
            home = self._home
            if self._wanted_port:
                self._launch(command, home, self._wanted_port)
            else:
                on_free_port(lambda port: self._launch(command, home, port), _PORT_TAKEN, "bitcoind")
            self._session = _session(self.user, self.password)
            self._begin()
            if self._blocks:
                self.mine(self._blocks)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the node and delete its chain. Does nothing if it is not running."""
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

        :raises RuntimeError: It is not running.
        """
        if self._port is None:
            raise RuntimeError("bitcoind was not started")
        return f"http://{self.user}:{self.password}@{LOOPBACK}:{self._port}"

    @property
    def process(self) -> ChildProcess:
        """The process, for its id and its log.

        :raises RuntimeError: It is not running.
        """
        if self._process is None:
            raise RuntimeError("bitcoind was not started")
        return self._process

    def rpc(self, method: str, *params: Any) -> Any:
        if self._session is None or self._port is None:
            raise RuntimeError("bitcoind was not started")
        answer = self._session.post(
            f"http://{LOOPBACK}:{self._port}/",
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

    def _launch(self, command: list[str], home: Path, port: int) -> None:
        self._process = self._process_at(port, command, home).start()
        try:
            self._process.wait_for(_READY, _START_TIMEOUT)
        except TestingSetupError:
            self._process.stop()
            raise
        self._port = port

    def _process_at(self, port: int, command: list[str], home: Path) -> ChildProcess:
        configuration = home / "bitcoin.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            _CONFIGURATION.format(
                host=LOOPBACK, port=port, user=self.user, password=self.password, index=self._index
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
    # Ignore proxies and the passwords of the user's .netrc.
    session.trust_env = False
    session.auth = (user, password)
    return session
