"""The Bitcoin node behind Connect: its JSON-RPC, and the index that follows its chain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import aiohttp

from airflow_provider_bloq.testing.local.connect.index import (
    AddressIndex,
    IndexedBlock,
    IndexedTransaction,
    read_block,
    read_transaction,
)
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.upstreams import LazyUpstream

__all__ = [
    "Call",
    "ChainItem",
    "ChainView",
    "IndexUpdater",
    "NodeRpcClient",
    "NodeRpcError",
    "UtxoChain",
]


#: Name and parameters of a method.
Call = tuple[str, list[Any]]

#: Calls in one request. More are not faster, and the answers must fit into memory.
_BATCH = 50


class NodeRpcError(Exception):
    """The node answered a call with an error.

    :param code: The node's code, such as -26.
    :param message: The node's reason.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NodeRpcClient:
    """JSON-RPC client for a node. Amounts are read as decimals.

    :param url: URL with user and password.
    :param session: Sends the requests.
    """

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def call(self, method: str, *params: Any) -> Any:
        """Call a method and return its result.

        :raises NodeRpcError: The node answered with an error.
        :raises ApiProblem: It does not answer (502).
        """
        (answer,) = await self.batch([(method, list(params))])
        if isinstance(answer, NodeRpcError):
            raise answer
        return answer

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Call many methods and return their results, with a :class:`NodeRpcError` for each that failed.

        :raises ApiProblem: The node does not answer (502).
        """
        answers: list[Any] = []
        for start in range(0, len(calls), _BATCH):
            answers += await self._send(calls[start : start + _BATCH])
        return answers

    async def _send(self, calls: Sequence[Call]) -> list[Any]:
        body = [{"id": number, "method": call[0], "params": call[1]} for number, call in enumerate(calls)]
        try:
            async with self._session.post(self._url, json=body) as answer:
                parsed = json.loads(await answer.text(), parse_float=Decimal)
        except (aiohttp.ClientError, ValueError) as error:
            raise ApiProblem(502, "ChainFailed", "The node behind Connect does not answer") from error
        return list(_results(parsed, len(calls)))


def _results(parsed: Any, expected: int) -> Iterator[Any]:
    by_number = {one["id"]: one for one in parsed} if isinstance(parsed, list) else {}
    for number in range(expected):
        one = by_number.get(number)
        if one is None:
            raise ApiProblem(502, "ChainFailed", "The node behind Connect did not answer a call")
        error = one.get("error")
        yield one["result"] if error is None else NodeRpcError(error["code"], error["message"])


#: Hashes to compare at once in the search for the last common block.
_LOOK_BACK = 20

#: Transactions of the mempool by id: the node's object and its time.
_Arrived = dict[str, tuple[Any, int]]


#: A transaction, or a block of the best chain.
ChainItem = IndexedTransaction | IndexedBlock


@dataclass(frozen=True, slots=True)
class _Branch:
    """The blocks of the best chain that replace those of the index above a height."""

    above: int
    blocks: Sequence[tuple[IndexedBlock, tuple[IndexedTransaction, ...]]]

    @property
    def tip(self) -> str | None:
        return self.blocks[-1][0].hash if self.blocks else None


class IndexUpdater:
    """Keeps an index up to date with a node.

    :param rpc: The node.
    :param report: Called with each new transaction and block in order, after the first update.
    """

    def __init__(self, rpc: NodeRpcClient, report: Callable[[ChainItem], None]) -> None:
        self.index = AddressIndex()
        self._rpc = rpc
        self._report = report
        self._lock = asyncio.Lock()
        self._reported: set[str] = set()
        self._started = False

    async def catch_up(self) -> None:
        """Update the index to the current state of the node.

        :raises ApiProblem: The node does not answer.
        """
        async with self._lock:
            while not await self._update():
                pass
            self._started = True

    async def _update(self) -> bool:
        """Read blocks and mempool, and put them into the index if they belong together; return whether they did.

        Everything is read before the index is changed, so that it is never seen between two states.
        """
        best: str = await self._rpc.call("getbestblockhash")
        branch = await self._read_branch(best)
        if branch is None:
            return False
        waiting: list[str] = await self._rpc.call("getrawmempool")
        arrived = await self._read_arrived([txid for txid in waiting if txid not in self.index.waiting])
        if await self._rpc.call("getbestblockhash") != best:
            return False
        self._replace_blocks(branch)
        return self._replace_mempool(frozenset(waiting), arrived)

    async def _read_branch(self, best: str) -> _Branch | None:
        """Read the missing blocks up to ``best``; None if that is no longer the best block."""
        index = self.index
        if index.blocks and index.blocks[-1].hash == best:
            return _Branch(index.height, ())
        top: int = await self._rpc.call("getblockcount")
        above = await self._last_common()
        hashes = await self._rpc.batch([("getblockhash", [height]) for height in range(above + 1, top + 1)])
        blocks = await self._rpc.batch(
            [("getblock", [known, 3]) for known in hashes if isinstance(known, str)]
        )
        if any(isinstance(block, NodeRpcError) for block in blocks):
            return None
        branch = _Branch(above, [read_block(block) for block in blocks])
        reached = branch.tip or (index.blocks[above].hash if above >= 0 else None)
        return branch if reached == best and self._fits(branch) else None

    async def _last_common(self) -> int:
        """Return the height of the newest block that index and node share; -1 for none."""
        end = len(self.index.blocks)
        while end > 0:
            start = max(0, end - _LOOK_BACK)
            known = self.index.blocks[start:end]
            hashes = await self._rpc.batch([("getblockhash", [block.height]) for block in known])
            shared = [block for block, found in zip(known, hashes, strict=True) if block.hash == found]
            if shared:
                return shared[-1].height
            end = start
        return -1

    def _fits(self, branch: _Branch) -> bool:
        parent = self.index.blocks[branch.above].hash if branch.above >= 0 else None
        for block, _ in branch.blocks:
            # The chain may have been reorganised between two answers of the node.
            if block.previous != parent:
                return False
            parent = block.hash
        return True

    async def _read_arrived(self, txids: list[str]) -> _Arrived:
        calls: list[Call] = []
        for txid in txids:
            calls += [("getrawtransaction", [txid, 1]), ("getmempoolentry", [txid])]
        answers = await self._rpc.batch(calls)
        # One that was replaced or mined in the meantime is missing.
        return {
            txid: (data, entry["time"])
            for txid, data, entry in zip(txids, answers[::2], answers[1::2], strict=True)
            if not isinstance(data, NodeRpcError) and not isinstance(entry, NodeRpcError)
        }

    def _replace_blocks(self, branch: _Branch) -> None:
        while self.index.height > branch.above:
            self.index.disconnect()
        for block, transactions in branch.blocks:
            self.index.connect(block, transactions)
            for transaction in transactions:
                self._announce(transaction.txid, transaction)
            self._announce(block.hash, block)

    def _replace_mempool(self, waiting: frozenset[str], arrived: _Arrived) -> bool:
        index = self.index
        for txid in [txid for txid in index.waiting if txid not in waiting]:
            index.leave(txid)
        while arrived:
            # First those whose inputs are known, then those that spend their outputs, and so on.
            ready = [txid for txid, (data, _) in arrived.items() if self._spends_known(data)]
            if not ready:
                return False
            for txid in ready:
                data, since = arrived.pop(txid)
                transaction = read_transaction(data, index.output)
                index.enter(transaction, since)
                self._announce(txid, transaction)
        return True

    def _spends_known(self, data: Any) -> bool:
        return all(self.index.output((one["txid"], one["vout"])) is not None for one in data["vin"])

    def _announce(self, name: str, item: ChainItem) -> None:
        if name in self._reported:
            return
        self._reported.add(name)
        if self._started:
            self._report(item)


@dataclass(frozen=True, slots=True)
class ChainView:
    """A chain at the time of a request: its node, and the index up to date with it."""

    rpc: NodeRpcClient
    index: AddressIndex


class UtxoChain:
    """A chain of the REST API and the stream.

    :param name: ``btc`` or ``bch``.
    :param upstream: Its node.
    :param session: For requests to the node.
    :param report: Called with the name of the chain and each new transaction and block.
    """

    def __init__(
        self,
        name: str,
        upstream: LazyUpstream,
        session: aiohttp.ClientSession,
        report: Callable[[str, ChainItem], None],
    ) -> None:
        self.name = name
        self._upstream = upstream
        self._session = session
        self._report = partial(report, name)
        self._opening = asyncio.Lock()
        self._rpc: NodeRpcClient | None = None
        self._updater: IndexUpdater | None = None

    async def now(self) -> ChainView:
        """Return the current state of the chain.

        :raises ApiProblem: There is no node (503) or it does not answer (502).
        """
        async with self._opening:
            if self._rpc is None or self._updater is None:
                self._rpc = NodeRpcClient(await self._upstream.url(), self._session)
                self._updater = IndexUpdater(self._rpc, self._report)
        try:
            await self._updater.catch_up()
        except NodeRpcError as refusal:
            raise ApiProblem(502, "ChainFailed", f"The node behind Connect refuses: {refusal}") from refusal
        return ChainView(self._rpc, self._updater.index)

    async def close(self) -> None:
        """Stop the node."""
        await self._upstream.stop()
