"""JSON-RPC to the Bitcoin node behind Connect; its amounts are read exactly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
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
    "ChainChanges",
    "ChainView",
    "IndexUpdater",
    "NodeRpcClient",
    "NodeRpcError",
    "UtxoChain",
]


#: The name of a method and its parameters.
Call = tuple[str, list[Any]]

#: Calls in one request. More of them do not make it faster, and their answers have to fit into memory.
_BATCH = 50


class NodeRpcError(Exception):
    """The node answers a call with an error.

    :param code: The node's code, such as -26.
    :param message: The node's reason.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NodeRpcClient:
    """Calls one node.

    :param url: Its address, with user and password.
    :param session: Sends the calls.
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
        """Call many methods; in place of a result that is not to be had stands a :class:`NodeRpcError`.

        :raises ApiProblem: The node does not answer (502).
        """
        answers: list[Any] = []
        for start in range(0, len(calls), _BATCH):
            answers += await self._sent(calls[start : start + _BATCH])
        return answers

    async def _sent(self, calls: Sequence[Call]) -> list[Any]:
        body = [{"id": number, "method": call[0], "params": call[1]} for number, call in enumerate(calls)]
        try:
            async with self._session.post(self._url, json=body) as answer:
                told = json.loads(await answer.text(), parse_float=Decimal)
        except (aiohttp.ClientError, ValueError) as error:
            raise ApiProblem(502, "ChainFailed", "The node behind Connect does not answer") from error
        return list(_results(told, len(calls)))


def _results(told: Any, expected: int) -> Iterator[Any]:
    by_number = {one["id"]: one for one in told} if isinstance(told, list) else {}
    for number in range(expected):
        one = by_number.get(number)
        if one is None:
            raise ApiProblem(502, "ChainFailed", "The node behind Connect leaves a call unanswered")
        error = one.get("error")
        yield one["result"] if error is None else NodeRpcError(error["code"], error["message"])


#: Hashes to compare at once while the last common block is sought.
_LOOK_BACK = 20

#: What waits in the mempool by its id: the node's object, and since when it waits.
_Arrived = dict[str, tuple[Any, int]]


@dataclass(frozen=True, slots=True)
class ChainChanges:
    """Something that had not been seen before: a transaction, or a block on the best chain."""

    subject: IndexedTransaction | IndexedBlock


@dataclass(frozen=True, slots=True)
class _Branch:
    """What the best chain has in place of the index's blocks above a height."""

    above: int
    blocks: Sequence[tuple[IndexedBlock, tuple[IndexedTransaction, ...]]]

    @property
    def tip(self) -> str | None:
        return self.blocks[-1][0].hash if self.blocks else None


class IndexUpdater:
    """Follows one node.

    :param rpc: The node.
    :param tell: Called with each news, in order; not for what was there at the first look.
    """

    def __init__(self, rpc: NodeRpcClient, tell: Callable[[ChainChanges], None]) -> None:
        self.index = AddressIndex()
        self._rpc = rpc
        self._tell = tell
        self._turn = asyncio.Lock()
        self._seen: set[str] = set()
        self._started = False

    async def catch_up(self) -> None:
        """Bring the index to where the node stands now.

        :raises ApiProblem: The node does not answer.
        """
        async with self._turn:
            while not await self._one_look():
                pass
            self._started = True

    async def _one_look(self) -> bool:
        """Read blocks and mempool and take them over if both are of the same moment.

        Nobody may see the index between two states, so everything is read before anything is changed.
        """
        best: str = await self._rpc.call("getbestblockhash")
        branch = await self._read_branch(best)
        if branch is None:
            return False
        waiting: list[str] = await self._rpc.call("getrawmempool")
        arrived = await self._read_arrived([txid for txid in waiting if txid not in self.index.waiting])
        if await self._rpc.call("getbestblockhash") != best:
            return False
        self._take_over_blocks(branch)
        return self._take_over_waiting(frozenset(waiting), arrived)

    async def _read_branch(self, best: str) -> _Branch | None:
        """Read what the index lacks of the chain up to ``best``; None if that is the best no longer."""
        index = self.index
        if index.blocks and index.blocks[-1].hash == best:
            return _Branch(index.height, ())
        top: int = await self._rpc.call("getblockcount")
        above = await self._last_common()
        hashes = await self._rpc.batch([("getblockhash", [height]) for height in range(above + 1, top + 1)])
        told = await self._rpc.batch([("getblock", [known, 3]) for known in hashes if isinstance(known, str)])
        if any(isinstance(one, NodeRpcError) for one in told):
            return None
        branch = _Branch(above, [read_block(one) for one in told])
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
        # One that was replaced or mined in the meantime is no longer there.
        return {
            txid: (told, entry["time"])
            for txid, told, entry in zip(txids, answers[::2], answers[1::2], strict=True)
            if not isinstance(told, NodeRpcError) and not isinstance(entry, NodeRpcError)
        }

    def _take_over_blocks(self, branch: _Branch) -> None:
        while self.index.height > branch.above:
            self.index.disconnect()
        for block, transactions in branch.blocks:
            self.index.connect(block, transactions)
            for transaction in transactions:
                self._announce(transaction.txid, transaction)
            self._announce(block.hash, block)

    def _take_over_waiting(self, waiting: frozenset[str], arrived: _Arrived) -> bool:
        index = self.index
        for txid in [txid for txid in index.waiting if txid not in waiting]:
            index.leave(txid)
        while arrived:
            # Those whose coins are known; then those that spend what these make, and so on.
            ready = [txid for txid, (told, _) in arrived.items() if self._spends_known(told)]
            if not ready:
                return False
            for txid in ready:
                told, since = arrived.pop(txid)
                transaction = read_transaction(told, index.output)
                index.enter(transaction, since)
                self._announce(txid, transaction)
        return True

    def _spends_known(self, told: Any) -> bool:
        return all(self.index.output((one["txid"], one["vout"])) is not None for one in told["vin"])

    def _announce(self, name: str, subject: IndexedTransaction | IndexedBlock) -> None:
        if name in self._seen:
            return
        self._seen.add(name)
        if self._started:
            self._tell(ChainChanges(subject))


@dataclass(frozen=True, slots=True)
class ChainView:
    """A chain as of one request: its node, and the index in step with it."""

    rpc: NodeRpcClient
    index: AddressIndex


class UtxoChain:
    """A chain that answers REST requests and feeds the stream.

    :param name: ``btc`` or ``bch``.
    :param upstream: Its node.
    :param session: For the calls to the node.
    :param tell: Called with each news and the name of the chain.
    """

    def __init__(
        self,
        name: str,
        upstream: LazyUpstream,
        session: aiohttp.ClientSession,
        tell: Callable[[str, ChainChanges], None],
    ) -> None:
        self.name = name
        self._upstream = upstream
        self._session = session
        self._tell = tell
        self._opening = asyncio.Lock()
        self._rpc: NodeRpcClient | None = None
        self._follower: IndexUpdater | None = None

    async def now(self) -> ChainView:
        """Return the chain as its node has it at this moment.

        :raises ApiProblem: There is no node (503) or it does not answer (502).
        """
        async with self._opening:
            if self._rpc is None or self._follower is None:
                self._rpc = NodeRpcClient(await self._upstream.url(), self._session)
                self._follower = IndexUpdater(self._rpc, self._told)
        try:
            await self._follower.catch_up()
        except NodeRpcError as refusal:
            raise ApiProblem(502, "ChainFailed", f"The node behind Connect refuses: {refusal}") from refusal
        return ChainView(self._rpc, self._follower.index)

    async def close(self) -> None:
        """Stop the node."""
        await self._upstream.stop()

    def _told(self, news: ChainChanges) -> None:
        self._tell(self.name, news)
