"""An index of a Bitcoin chain: transactions, blocks, and the totals and history of addresses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

__all__ = [
    "AddressIndex",
    "AddressTotals",
    "IndexedBlock",
    "IndexedTransaction",
    "Outpoint",
    "Spender",
    "TransactionInput",
    "TransactionOutput",
    "TransactionSet",
    "UnspentOutput",
    "address_totals",
    "history",
    "read_block",
    "read_transaction",
    "satoshi",
    "unspent",
]


_SATOSHI = 100_000_000
#: Lower sequence numbers signal that the transaction may be replaced (BIP 125).
_FINAL = 0xFFFFFFFE

#: An output: the id of its transaction and its position.
Outpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class TransactionOutput:
    """An output of a transaction. ``address`` is None if its script has none."""

    satoshi: int
    script: str
    asm: str
    kind: str
    address: str | None


@dataclass(frozen=True, slots=True)
class TransactionInput:
    """An input of a transaction; ``spends`` and ``source`` are None for a coinbase.

    :param spends: The outpoint that is spent.
    :param source: The output that is spent.
    :param script: The script in hexadecimal; the miner's data for a coinbase.
    """

    spends: Outpoint | None
    source: TransactionOutput | None
    sequence: int
    script: str
    asm: str


@dataclass(frozen=True, slots=True)
class IndexedTransaction:
    """A transaction. Its size is in bytes."""

    txid: str
    version: int
    lock_time: int
    size: int
    inputs: tuple[TransactionInput, ...]
    outputs: tuple[TransactionOutput, ...]

    @property
    def is_coinbase(self) -> bool:
        """Whether it creates new coins."""
        return self.inputs[0].spends is None

    @property
    def replaceable(self) -> bool:
        """Whether it signals that it may be replaced."""
        return not self.is_coinbase and any(spent.sequence < _FINAL for spent in self.inputs)

    @property
    def addresses(self) -> frozenset[str]:
        """All addresses that it pays or spends from."""
        touched = [*self.outputs, *(spent.source for spent in self.inputs)]
        return frozenset(output.address for output in touched if output is not None and output.address)

    def value_out(self) -> int:
        """Return the sum of its outputs in satoshi."""
        return sum(output.satoshi for output in self.outputs)

    def value_in(self) -> int:
        """Return the sum of its inputs in satoshi; 0 for a coinbase."""
        return sum(spent.source.satoshi for spent in self.inputs if spent.source is not None)

    def change(self, address: str) -> tuple[int, int]:
        """Return what it pays to an address and what it spends from it, in satoshi."""
        received = sum(output.satoshi for output in self.outputs if output.address == address)
        spent = sum(one.source.satoshi for one in self.inputs if one.source and one.source.address == address)
        return received, spent


def read_transaction(
    data: Mapping[str, Any], find: Callable[[Outpoint], TransactionOutput | None] | None = None
) -> IndexedTransaction:
    """Parse a transaction of ``getblock`` with verbosity 3 or of ``getrawtransaction``.

    :param data: The node's object.
    :param find: Finds a spent output that the node does not include, as for transactions of the mempool.
    :raises LookupError: A spent output is unknown.
    """
    return IndexedTransaction(
        txid=data["txid"],
        version=data["version"],
        lock_time=data["locktime"],
        size=data["size"],
        inputs=tuple(_input(one, find) for one in data["vin"]),
        outputs=tuple(_output(one) for one in data["vout"]),
    )


def satoshi(amount: Decimal | int) -> int:
    """Convert an amount in coins."""
    return int(amount * _SATOSHI)


def _input(
    data: Mapping[str, Any], find: Callable[[Outpoint], TransactionOutput | None] | None
) -> TransactionInput:
    if "coinbase" in data:
        return TransactionInput(None, None, data["sequence"], data["coinbase"], "")
    spends = (data["txid"], data["vout"])
    source = _output(data["prevout"]) if "prevout" in data else find(spends) if find else None
    if source is None:
        raise LookupError(f"output {spends[1]} of {spends[0]} is not known")
    return TransactionInput(
        spends, source, data["sequence"], data["scriptSig"]["hex"], data["scriptSig"]["asm"]
    )


def _output(data: Mapping[str, Any]) -> TransactionOutput:
    script = data["scriptPubKey"]
    return TransactionOutput(
        satoshi=satoshi(data["value"]),
        script=script["hex"],
        asm=script["asm"],
        kind=script["type"],
        address=script.get("address"),
    )


#: The input that spends an output: the id of its transaction and its position.
Spender = tuple[str, int]


class TransactionSet:
    """A set of transactions with its indexes."""

    def __init__(self) -> None:
        self._all: dict[str, IndexedTransaction] = {}
        # Dictionaries as ordered sets.
        self._by_address: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._spenders: dict[Outpoint, Spender] = {}

    def __contains__(self, txid: object) -> bool:
        return txid in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def add(self, transaction: IndexedTransaction) -> None:
        """Add a transaction as the newest."""
        self._all[transaction.txid] = transaction
        for address in transaction.addresses:
            self._by_address[address][transaction.txid] = None
        for index, spent in enumerate(transaction.inputs):
            if spent.spends is not None:
                self._spenders[spent.spends] = (transaction.txid, index)

    def remove(self, txid: str) -> None:
        """Remove a transaction."""
        transaction = self._all.pop(txid)
        for address in transaction.addresses:
            del self._by_address[address][txid]
        for spent in transaction.inputs:
            # Another transaction that spends the same may have been added in the meantime.
            if spent.spends is not None and self._spenders.get(spent.spends, ("", 0))[0] == txid:
                del self._spenders[spent.spends]

    def get(self, txid: str) -> IndexedTransaction | None:
        """Return a transaction by its id."""
        return self._all.get(txid)

    def touching(self, address: str) -> list[str]:
        """Return the ids of all that pay an address or spend from it, newest last."""
        return list(self._by_address.get(address, ()))

    def output(self, outpoint: Outpoint) -> TransactionOutput | None:
        """Return an output of one of the transactions."""
        transaction = self._all.get(outpoint[0])
        if transaction is None or outpoint[1] >= len(transaction.outputs):
            return None
        return transaction.outputs[outpoint[1]]

    def spender(self, outpoint: Outpoint) -> Spender | None:
        """Return the input that spends an output."""
        return self._spenders.get(outpoint)


@dataclass(frozen=True, slots=True)
class IndexedBlock:
    """A block of the best chain.

    :param previous: Hash of its parent; None for the first block.
    :param time: The miner's time in seconds since the epoch.
    :param size: Size in bytes.
    """

    hash: str
    previous: str | None
    height: int
    time: int
    size: int
    txids: tuple[str, ...]


def read_block(data: Mapping[str, Any]) -> tuple[IndexedBlock, tuple[IndexedTransaction, ...]]:
    """Parse a block of ``getblock`` with verbosity 3."""
    transactions = tuple(read_transaction(one) for one in data["tx"])
    block = IndexedBlock(
        hash=data["hash"],
        previous=data.get("previousblockhash"),
        height=data["height"],
        time=data["time"],
        size=data["size"],
        txids=tuple(one.txid for one in transactions),
    )
    return block, transactions


class AddressIndex:
    """The blocks and transactions of one chain. Used on the event loop only."""

    def __init__(self) -> None:
        self.blocks: list[IndexedBlock] = []
        self.confirmed = TransactionSet()
        self.waiting = TransactionSet()
        self._heights: dict[str, int] = {}
        self._since: dict[str, int] = {}

    @property
    def height(self) -> int:
        """Height of the newest block; -1 before the first."""
        return len(self.blocks) - 1

    def connect(self, block: IndexedBlock, transactions: Sequence[IndexedTransaction]) -> None:
        """Add a block.

        :raises ValueError: Its parent is not the newest block.
        """
        if block.height != len(self.blocks) or (self.blocks and block.previous != self.blocks[-1].hash):
            raise ValueError(f"the parent of block {block.hash} is not the newest block")
        self.blocks.append(block)
        for transaction in transactions:
            if transaction.txid in self.waiting:
                self.leave(transaction.txid)
            self.confirmed.add(transaction)
            self._heights[transaction.txid] = block.height

    def disconnect(self) -> IndexedBlock:
        """Remove the newest block and return it."""
        block = self.blocks.pop()
        for txid in reversed(block.txids):
            self.confirmed.remove(txid)
            del self._heights[txid]
        return block

    def enter(self, transaction: IndexedTransaction, since: int) -> None:
        """Add an unconfirmed transaction.

        :param since: Its time in the mempool, in seconds since the epoch.
        """
        self.waiting.add(transaction)
        self._since[transaction.txid] = since

    def leave(self, txid: str) -> None:
        """Remove an unconfirmed transaction."""
        self.waiting.remove(txid)
        del self._since[txid]

    def transaction(self, txid: str) -> IndexedTransaction | None:
        """Return a transaction, confirmed or not."""
        return self.confirmed.get(txid) or self.waiting.get(txid)

    def block_of(self, txid: str) -> IndexedBlock | None:
        """Return the block of a transaction; None if it is unconfirmed."""
        height = self._heights.get(txid)
        return None if height is None else self.blocks[height]

    def confirmations(self, txid: str) -> int:
        """Return the number of confirmations: 1 in the newest block, 0 if it is unconfirmed."""
        height = self._heights.get(txid)
        return 0 if height is None else self.height - height + 1

    def waiting_since(self, txid: str) -> int:
        """Return the mempool time of an unconfirmed transaction, in seconds since the epoch."""
        return self._since[txid]

    def output(self, outpoint: Outpoint) -> TransactionOutput | None:
        """Return an output, confirmed or not."""
        return self.confirmed.output(outpoint) or self.waiting.output(outpoint)

    def spender(self, outpoint: Outpoint) -> Spender | None:
        """Return the input that spends an output, confirmed or not."""
        return self.confirmed.spender(outpoint) or self.waiting.spender(outpoint)


@dataclass(frozen=True, slots=True)
class AddressTotals:
    """The totals of an address in satoshi; ``received`` and ``sent`` are confirmed.

    :param unconfirmed: Change by unconfirmed transactions; negative if they spend more than they pay.
    :param appearances: Number of confirmed transactions of the address.
    :param waiting: Number of unconfirmed transactions of the address.
    """

    received: int
    sent: int
    unconfirmed: int
    appearances: int
    waiting: int

    @property
    def balance(self) -> int:
        """Confirmed balance."""
        return self.received - self.sent


@dataclass(frozen=True, slots=True)
class UnspentOutput:
    """An output that no transaction spends, confirmed or not."""

    txid: str
    index: int
    address: str
    output: TransactionOutput


def address_totals(index: AddressIndex, address: str) -> AddressTotals:
    """Return the totals of an address."""
    received, sent = _turnover(index.confirmed, address)
    coming, going = _turnover(index.waiting, address)
    return AddressTotals(
        received=received,
        sent=sent,
        unconfirmed=coming - going,
        appearances=len(index.confirmed.touching(address)),
        waiting=len(index.waiting.touching(address)),
    )


def history(index: AddressIndex, addresses: Iterable[str]) -> list[str]:
    """Return the ids of all transactions of some addresses, newest first: unconfirmed, then confirmed."""
    wanted = list(addresses)
    waiting = _touching(index.waiting, wanted)
    confirmed = _touching(index.confirmed, wanted)
    place = {txid: at for at, txid in enumerate(index.waiting)}
    newest = sorted(waiting, key=lambda txid: place[txid], reverse=True)
    return newest + sorted(confirmed, key=lambda txid: _position(index, txid), reverse=True)


def unspent(index: AddressIndex, addresses: Iterable[str]) -> list[UnspentOutput]:
    """Return the unspent outputs of some addresses, newest first."""
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


def _made(index: AddressIndex, txid: str, addresses: frozenset[str]) -> Iterator[UnspentOutput]:
    transaction = index.transaction(txid)
    for number, output in enumerate(transaction.outputs if transaction else ()):
        if output.address in addresses and output.address is not None:
            yield UnspentOutput(txid, number, output.address, output)
