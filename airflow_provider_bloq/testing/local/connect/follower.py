"""Keeps the address index in step with its node, through reorganisations, and tells what is new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.testing.local.connect.index import AddressIndex, Block, read_block
from airflow_provider_bloq.testing.local.connect.node_rpc import Call, NodeRefusal, NodeRpc
from airflow_provider_bloq.testing.local.connect.transactions import Transaction, read_transaction

__all__ = ["Follower", "News"]

#: Hashes to compare at once while the last common block is sought.
_LOOK_BACK = 20

#: What waits in the mempool by its id: the node's object, and since when it waits.
_Arrived = dict[str, tuple[Any, int]]


@dataclass(frozen=True, slots=True)
class News:
    """Something that had not been seen before: a transaction, or a block on the best chain."""

    subject: Transaction | Block


@dataclass(frozen=True, slots=True)
class _Branch:
    """What the best chain has in place of the index's blocks above a height."""

    above: int
    blocks: Sequence[tuple[Block, tuple[Transaction, ...]]]

    @property
    def tip(self) -> str | None:
        return self.blocks[-1][0].hash if self.blocks else None


class Follower:
    """Follows one node.

    :param rpc: The node.
    :param tell: Called with each news, in order; not for what was there at the first look.
    """

    def __init__(self, rpc: NodeRpc, tell: Callable[[News], None]) -> None:
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
        if any(isinstance(one, NodeRefusal) for one in told):
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
            if not isinstance(told, NodeRefusal) and not isinstance(entry, NodeRefusal)
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

    def _announce(self, name: str, subject: Transaction | Block) -> None:
        if name in self._seen:
            return
        self._seen.add(name)
        if self._started:
            self._tell(News(subject))
