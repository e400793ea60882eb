"""A node that answers as Bitcoin's daemon does, over a real socket, for a chain that a test writes down."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.raw_server import RawConnection, SeenRequest, Serve

__all__ = ["BitcoinNode", "RpcFault", "hash_of"]

NO_SUCH = "No such mempool or blockchain transaction. Use gettransaction for wallet transactions."


def hash_of(what: object) -> str:
    """Return what looks like a hash, another for each thing."""
    return f"{what!r}".encode().hex()[-60:].rjust(64, "a")


@dataclass
class RpcFault(Exception):
    """An error object of JSON-RPC."""

    code: int
    message: str


@dataclass
class Transaction:
    """A transaction: what it spends, and the height it was mined at, if it was."""

    spends: list[tuple[str, int]]
    mined_at: int | None = None
    #: In a block that is no longer part of the chain.
    stale: bool = False


@dataclass
class BitcoinNode:
    """A scripted node. Errors come with HTTP 500, as for calls of JSON-RPC 1.0; those in batches with 200.

    :param serve: Starts the server.
    """

    serve: Serve
    height: int = 100
    headers: int = 100
    initial_download: bool = False
    time: int = 1_700_000_000
    #: Whether it tells the time of its head beside its height, as daemons since 2022 do.
    tells_time: bool = True
    #: The branch of the chain; another one has other blocks.
    branch: str = "main"
    transactions: dict[str, Transaction] = field(default_factory=dict)
    no_such: str = NO_SUCH
    #: What it answers to every call while it is set.
    fault: RpcFault | None = None
    #: Called before each question of this method is answered.
    before: dict[str, Callable[[], object]] = field(default_factory=dict)
    batches: list[list[str]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.url = self.serve(self._script).url

    def add(self, *spends: tuple[str, int], mined_at: int | None = None) -> str:
        """Add a transaction and return its hash."""
        tx_hash = hash_of(("transaction", next(self._numbers)))
        self.transactions[tx_hash] = Transaction(list(spends), mined_at)
        return tx_hash

    def forget(self, tx_hash: str) -> None:
        """Drop a transaction from the memory pool."""
        del self.transactions[tx_hash]

    def block_hash(self, height: int) -> str:
        return hash_of((self.branch, height))

    def _script(self, connection: RawConnection, request: SeenRequest) -> None:
        body = json.loads(request.body)
        if isinstance(body, list):
            self.batches.append([call["method"] for call in body])
            connection.reply(200, json.dumps([self._answer(call) for call in body]).encode())
            return
        self.batches.append([body["method"]])
        answer = self._answer(body)
        connection.reply(500 if answer["error"] else 200, json.dumps(answer).encode())

    def _answer(self, call: dict[str, Any]) -> dict[str, Any]:
        try:
            result, error = self._result(call["method"], call["params"]), None
        except RpcFault as fault:
            result, error = None, {"code": fault.code, "message": fault.message}
        return {"result": result, "error": error, "id": call["id"]}

    def _result(self, method: str, params: list[Any]) -> Any:
        if self.fault is not None:
            raise self.fault
        self.before.get(method, lambda: None)()
        match method, params:
            case "getblockchaininfo", []:
                return self._info()
            case "getbestblockhash", []:
                return self.block_hash(self.height)
            case "getblockheader", [block_hash]:
                assert block_hash == self.block_hash(self.height)
                return {"hash": block_hash, "height": self.height, "time": self.time, "confirmations": 1}
            case "getrawtransaction", [tx_hash, True]:
                return self._transaction(tx_hash)
            case "gettxout", [tx_hash, number, False]:
                return self._unspent(tx_hash, number)
        raise RpcFault(-32601, "Method not found")

    def _info(self) -> dict[str, Any]:
        info = {
            "chain": "main",
            "blocks": self.height,
            "headers": self.headers,
            "bestblockhash": self.block_hash(self.height),
            "initialblockdownload": self.initial_download,
            "mediantime": self.time - 3000,
        }
        return info | ({"time": self.time} if self.tells_time else {})

    def _transaction(self, tx_hash: str) -> dict[str, Any]:
        transaction = self.transactions.get(tx_hash)
        if transaction is None:
            raise RpcFault(-5, self.no_such)
        spent = [{"txid": spent, "vout": number} for spent, number in transaction.spends]
        told: dict[str, Any] = {"txid": tx_hash, "vin": spent or [{"coinbase": "00"}]}
        if transaction.stale:
            return told | {"blockhash": hash_of("a block of the past"), "confirmations": 0}
        if transaction.mined_at is None:
            return told
        return told | {
            "blockhash": self.block_hash(transaction.mined_at),
            "confirmations": self.height - transaction.mined_at + 1,
        }

    def _unspent(self, tx_hash: str, number: int) -> dict[str, Any] | None:
        origin = self.transactions.get(tx_hash)
        if origin is None or origin.mined_at is None:
            return None
        mined = [one for one in self.transactions.values() if one.mined_at is not None]
        if any((tx_hash, number) in one.spends for one in mined):
            return None
        return {"value": 1.0, "confirmations": self.height - origin.mined_at + 1}
