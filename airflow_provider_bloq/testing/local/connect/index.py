"""A Bitcoin transaction as Connect needs it, read from what a node tells."""

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
#: Sequence numbers below this one signal that the transaction may be replaced (BIP 125).
_FINAL = 0xFFFFFFFE

#: An output by the id of its transaction and its place in it.
Outpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class TransactionOutput:
    """What a transaction pays. ``address`` is None where the script has none."""

    satoshi: int
    script: str
    asm: str
    kind: str
    address: str | None


@dataclass(frozen=True, slots=True)
class TransactionInput:
    """What a transaction spends; of a coinbase ``spends`` and ``source`` are None.

    :param spends: The output that is spent.
    :param source: That output itself.
    :param script: The script in hexadecimal; for a coinbase what the miner wrote there.
    """

    spends: Outpoint | None
    source: TransactionOutput | None
    sequence: int
    script: str
    asm: str


@dataclass(frozen=True, slots=True)
class IndexedTransaction:
    """A transaction. Sizes are bytes."""

    txid: str
    version: int
    lock_time: int
    size: int
    inputs: tuple[TransactionInput, ...]
    outputs: tuple[TransactionOutput, ...]

    @property
    def is_coinbase(self) -> bool:
        """Whether it makes new coins."""
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
        """Return the sum of what it spends in satoshi; 0 for a coinbase."""
        return sum(spent.source.satoshi for spent in self.inputs if spent.source is not None)

    def change(self, address: str) -> tuple[int, int]:
        """Return what the address receives by it and what is spent from it, in satoshi."""
        received = sum(output.satoshi for output in self.outputs if output.address == address)
        spent = sum(one.source.satoshi for one in self.inputs if one.source and one.source.address == address)
        return received, spent


def read_transaction(
    told: Mapping[str, Any], find: Callable[[Outpoint], TransactionOutput | None] | None = None
) -> IndexedTransaction:
    """Read a transaction as ``getblock`` with verbosity 3 or ``getrawtransaction`` tells it.

    :param told: The node's object.
    :param find: Finds an output that is spent where the node does not tell it, as of what waits in the
        mempool.
    :raises LookupError: An output that is spent is not known.
    """
    return IndexedTransaction(
        txid=told["txid"],
        version=told["version"],
        lock_time=told["locktime"],
        size=told["size"],
        inputs=tuple(_input(one, find) for one in told["vin"]),
        outputs=tuple(_output(one) for one in told["vout"]),
    )


def satoshi(amount: Decimal | int) -> int:
    """Read an amount that a node writes in whole coins."""
    return int(amount * _SATOSHI)


def _input(
    told: Mapping[str, Any], find: Callable[[Outpoint], TransactionOutput | None] | None
) -> TransactionInput:
    if "coinbase" in told:
        return TransactionInput(None, None, told["sequence"], told["coinbase"], "")
    spends = (told["txid"], told["vout"])
    source = _output(told["prevout"]) if "prevout" in told else find(spends) if find else None
    if source is None:
        raise LookupError(f"output {spends[1]} of {spends[0]} is not known")
    return TransactionInput(
        spends, source, told["sequence"], told["scriptSig"]["hex"], told["scriptSig"]["asm"]
    )


def _output(told: Mapping[str, Any]) -> TransactionOutput:
    script = told["scriptPubKey"]
    return TransactionOutput(
        satoshi=satoshi(told["value"]),
        script=script["hex"],
        asm=script["asm"],
        kind=script["type"],
        address=script.get("address"),
    )


#: What spends an output: the id of a transaction and the place among its inputs.
Spender = tuple[str, int]


class TransactionSet:
    """A set of transactions with its indexes."""

    def __init__(self) -> None:
        self._all: dict[str, IndexedTransaction] = {}
        # Dictionaries stand for sets that keep their order.
        self._by_address: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._spenders: dict[Outpoint, Spender] = {}

    def __contains__(self, txid: object) -> bool:
        return txid in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def add(self, transaction: IndexedTransaction) -> None:
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

    def get(self, txid: str) -> IndexedTransaction | None:
        """Return a transaction by its id."""
        return self._all.get(txid)

    def touching(self, address: str) -> list[str]:
        """Return the ids of all that pay an address or spend from it, the newest last."""
        return list(self._by_address.get(address, ()))

    def output(self, outpoint: Outpoint) -> TransactionOutput | None:
        """Return an output that one of them made."""
        transaction = self._all.get(outpoint[0])
        if transaction is None or outpoint[1] >= len(transaction.outputs):
            return None
        return transaction.outputs[outpoint[1]]

    def spender(self, outpoint: Outpoint) -> Spender | None:
        """Return which of them spends an output."""
        return self._spenders.get(outpoint)


@dataclass(frozen=True, slots=True)
class IndexedBlock:
    """A block of the best chain.

    :param previous: Hash of the one before; None for the first of all.
    :param time: Seconds since the epoch, as its miner wrote.
    :param size: Bytes.
    """

    hash: str
    previous: str | None
    height: int
    time: int
    size: int
    txids: tuple[str, ...]


def read_block(told: Mapping[str, Any]) -> tuple[IndexedBlock, tuple[IndexedTransaction, ...]]:
    """Read a block as ``getblock`` with verbosity 3 tells it."""
    transactions = tuple(read_transaction(one) for one in told["tx"])
    block = IndexedBlock(
        hash=told["hash"],
        previous=told.get("previousblockhash"),
        height=told["height"],
        time=told["time"],
        size=told["size"],
        txids=tuple(one.txid for one in transactions),
    )
    return block, transactions


class AddressIndex:
    """What is known of one chain. Touched on the event loop only."""

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
        """Put a block on top.

        :raises ValueError: It does not follow the newest one.
        """
        if block.height != len(self.blocks) or (self.blocks and block.previous != self.blocks[-1].hash):
            raise ValueError(f"block {block.hash} does not follow the newest one")
        self.blocks.append(block)
        for transaction in transactions:
            if transaction.txid in self.waiting:
                self.leave(transaction.txid)
            self.confirmed.add(transaction)
            self._heights[transaction.txid] = block.height

    def disconnect(self) -> IndexedBlock:
        """Take the newest block away and return it."""
        block = self.blocks.pop()
        for txid in reversed(block.txids):
            self.confirmed.remove(txid)
            del self._heights[txid]
        return block

    def enter(self, transaction: IndexedTransaction, since: int) -> None:
        """Note a transaction that waits for a block.

        :param since: Since when, in seconds since the epoch.
        """
        self.waiting.add(transaction)
        self._since[transaction.txid] = since

    def leave(self, txid: str) -> None:
        """Note that a transaction waits no longer."""
        self.waiting.remove(txid)
        del self._since[txid]

    def transaction(self, txid: str) -> IndexedTransaction | None:
        """Return a transaction that is in a block or waits for one."""
        return self.confirmed.get(txid) or self.waiting.get(txid)

    def block_of(self, txid: str) -> IndexedBlock | None:
        """Return the block that a transaction is in."""
        height = self._heights.get(txid)
        return None if height is None else self.blocks[height]

    def confirmations(self, txid: str) -> int:
        """Return how many blocks confirm a transaction: 1 if it is in the newest, 0 if it is in none."""
        height = self._heights.get(txid)
        return 0 if height is None else self.height - height + 1

    def waiting_since(self, txid: str) -> int:
        """Return since when a transaction waits, in seconds since the epoch."""
        return self._since[txid]

    def output(self, outpoint: Outpoint) -> TransactionOutput | None:
        """Return an output, whether it is in a block or not."""
        return self.confirmed.output(outpoint) or self.waiting.output(outpoint)

    def spender(self, outpoint: Outpoint) -> Spender | None:
        """Return what spends an output, whether it is in a block or not."""
        return self.confirmed.spender(outpoint) or self.waiting.spender(outpoint)


@dataclass(frozen=True, slots=True)
class AddressTotals:
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
class UnspentOutput:
    """An output that nothing spends, in no block and not in the mempool either."""

    txid: str
    index: int
    address: str
    output: TransactionOutput


def address_totals(index: AddressIndex, address: str) -> AddressTotals:
    """Sum up an address."""
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
    """Return the ids of all transactions that touch any of the addresses, the newest first.

    Those that wait for a block come before all others.
    """
    wanted = list(addresses)
    waiting = _touching(index.waiting, wanted)
    confirmed = _touching(index.confirmed, wanted)
    place = {txid: at for at, txid in enumerate(index.waiting)}
    newest = sorted(waiting, key=lambda txid: place[txid], reverse=True)
    return newest + sorted(confirmed, key=lambda txid: _position(index, txid), reverse=True)


def unspent(index: AddressIndex, addresses: Iterable[str]) -> list[UnspentOutput]:
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


def _made(index: AddressIndex, txid: str, addresses: frozenset[str]) -> Iterator[UnspentOutput]:
    transaction = index.transaction(txid)
    for number, output in enumerate(transaction.outputs if transaction else ()):
        if output.address in addresses and output.address is not None:
            yield UnspentOutput(txid, number, output.address, output)
