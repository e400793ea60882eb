"""A Bitcoin transaction as Connect needs it, read from what a node tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

__all__ = ["Input", "Outpoint", "Output", "Transaction", "read_transaction", "satoshi"]

_SATOSHI = 100_000_000
#: Sequence numbers below this one signal that the transaction may be replaced (BIP 125).
_FINAL = 0xFFFFFFFE

#: An output by the id of its transaction and its place in it.
Outpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Output:
    """What a transaction pays. ``address`` is None where the script has none."""

    satoshi: int
    script: str
    asm: str
    kind: str
    address: str | None


@dataclass(frozen=True, slots=True)
class Input:
    """What a transaction spends; of a coinbase ``spends`` and ``source`` are None.

    :param spends: The output that is spent.
    :param source: That output itself.
    :param script: The script in hexadecimal; for a coinbase what the miner wrote there.
    """

    spends: Outpoint | None
    source: Output | None
    sequence: int
    script: str
    asm: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction. Sizes are bytes."""

    txid: str
    version: int
    lock_time: int
    size: int
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]

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
    told: Mapping[str, Any], find: Callable[[Outpoint], Output | None] | None = None
) -> Transaction:
    """Read a transaction as ``getblock`` with verbosity 3 or ``getrawtransaction`` tells it.

    :param told: The node's object.
    :param find: Finds an output that is spent where the node does not tell it, as of what waits in the
        mempool.
    :raises LookupError: An output that is spent is not known.
    """
    return Transaction(
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


def _input(told: Mapping[str, Any], find: Callable[[Outpoint], Output | None] | None) -> Input:
    if "coinbase" in told:
        return Input(None, None, told["sequence"], told["coinbase"], "")
    spends = (told["txid"], told["vout"])
    source = _output(told["prevout"]) if "prevout" in told else find(spends) if find else None
    if source is None:
        raise LookupError(f"output {spends[1]} of {spends[0]} is not known")
    return Input(spends, source, told["sequence"], told["scriptSig"]["hex"], told["scriptSig"]["asm"])


def _output(told: Mapping[str, Any]) -> Output:
    script = told["scriptPubKey"]
    return Output(
        satoshi=satoshi(told["value"]),
        script=script["hex"],
        asm=script["asm"],
        kind=script["type"],
        address=script.get("address"),
    )
