"""Transactions that can be found by address and by what they spend, in the order in which they came."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from airflow_provider_bloq.testing.local.connect.transactions import Outpoint, Output, Transaction

__all__ = ["Spender", "TransactionSet"]

#: What spends an output: the id of a transaction and the place among its inputs.
Spender = tuple[str, int]


class TransactionSet:
    """A set of transactions with its indexes."""

    def __init__(self) -> None:
        self._all: dict[str, Transaction] = {}
        # Dictionaries stand for sets that keep their order.
        self._by_address: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._spenders: dict[Outpoint, Spender] = {}

    def __contains__(self, txid: object) -> bool:
        return txid in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def add(self, transaction: Transaction) -> None:
        """Put a transaction in, as the newest."""
        self._all[transaction.txid] = transaction
        for address in transaction.addresses:
            self._by_address[address][transaction.txid] = None
        for index, spent in enumerate(transaction.inputs):
            if spent.spends is not None:
                self._spenders[spent.spends] = (transaction.txid, index)

    def remove(self, txid: str) -> None:
        """Take a transaction out."""
        transaction = self._all.pop(txid)
        for address in transaction.addresses:
            del self._by_address[address][txid]
        for spent in transaction.inputs:
            # Another that spends the same may have come in the meantime.
            if spent.spends is not None and self._spenders.get(spent.spends, ("", 0))[0] == txid:
                del self._spenders[spent.spends]

    def get(self, txid: str) -> Transaction | None:
        """Return a transaction by its id."""
        return self._all.get(txid)

    def touching(self, address: str) -> list[str]:
        """Return the ids of all that pay an address or spend from it, the newest last."""
        return list(self._by_address.get(address, ()))

    def output(self, outpoint: Outpoint) -> Output | None:
        """Return an output that one of them made."""
        transaction = self._all.get(outpoint[0])
        if transaction is None or outpoint[1] >= len(transaction.outputs):
            return None
        return transaction.outputs[outpoint[1]]

    def spender(self, outpoint: Outpoint) -> Spender | None:
        """Return which of them spends an output."""
        return self._spenders.get(outpoint)
