"""What an address has, had and may spend, computed from the index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from airflow_provider_bloq.testing.local.connect.index import AddressIndex
from airflow_provider_bloq.testing.local.connect.transaction_set import TransactionSet
from airflow_provider_bloq.testing.local.connect.transactions import Output

__all__ = ["Standing", "Unspent", "history", "standing", "unspent"]


@dataclass(frozen=True, slots=True)
class Standing:
    """The sums of one address in satoshi; only ``unconfirmed`` counts what is in no block.

    :param unconfirmed: What the waiting transactions would change; negative if they spend more than they pay.
    :param appearances: Transactions in blocks that touch the address.
    :param waiting: Transactions that wait and touch the address.
    """

    received: int
    sent: int
    unconfirmed: int
    appearances: int
    waiting: int

    @property
    def balance(self) -> int:
        """What blocks say that it has."""
        return self.received - self.sent


@dataclass(frozen=True, slots=True)
class Unspent:
    """An output that nothing spends, in no block and not in the mempool either."""

    txid: str
    index: int
    address: str
    output: Output


def standing(index: AddressIndex, address: str) -> Standing:
    """Sum up an address."""
    received, sent = _turnover(index.confirmed, address)
    coming, going = _turnover(index.waiting, address)
    return Standing(
        received=received,
        sent=sent,
        unconfirmed=coming - going,
        appearances=len(index.confirmed.touching(address)),
        waiting=len(index.waiting.touching(address)),
    )


def history(index: AddressIndex, addresses: Iterable[str]) -> list[str]:
    """Return the ids of all transactions that touch any of the addresses, the newest first.

    Those that wait for a block come before all others.
    """
    wanted = list(addresses)
    waiting = _touching(index.waiting, wanted)
    confirmed = _touching(index.confirmed, wanted)
    place = {txid: at for at, txid in enumerate(index.waiting)}
    newest = sorted(waiting, key=lambda txid: place[txid], reverse=True)
    return newest + sorted(confirmed, key=lambda txid: _position(index, txid), reverse=True)


def unspent(index: AddressIndex, addresses: Iterable[str]) -> list[Unspent]:
    """Return what can be spent from any of the addresses, the newest first."""
    wanted = frozenset(addresses)
    return [
        coin
        for txid in history(index, wanted)
        for coin in _made(index, txid, wanted)
        if index.spender((coin.txid, coin.index)) is None
    ]


def _turnover(transactions: TransactionSet, address: str) -> tuple[int, int]:
    changes = [
        transaction.change(address)
        for txid in transactions.touching(address)
        if (transaction := transactions.get(txid)) is not None
    ]
    return sum(change[0] for change in changes), sum(change[1] for change in changes)


def _touching(transactions: TransactionSet, addresses: Iterable[str]) -> set[str]:
    return {txid for address in addresses for txid in transactions.touching(address)}


def _position(index: AddressIndex, txid: str) -> tuple[int, int]:
    block = index.block_of(txid)
    return (-1, 0) if block is None else (block.height, block.txids.index(txid))


def _made(index: AddressIndex, txid: str, addresses: frozenset[str]) -> Iterator[Unspent]:
    transaction = index.transaction(txid)
    for number, output in enumerate(transaction.outputs if transaction else ()):
        if output.address in addresses and output.address is not None:
            yield Unspent(txid, number, output.address, output)
