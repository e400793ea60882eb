"""What a test makes happen on a Bitcoin chain: blocks, payments, and another branch that wins."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any

from airflow_provider_bloq.testing.bitcoin_transactions import (
    Coin,
    Payment,
    descriptor,
    fresh_script,
    locking_script,
    pay,
)

__all__ = ["BitcoinChain"]

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
        :func:`~airflow_provider_bloq.testing.bitcoin_transactions.pay`.
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
