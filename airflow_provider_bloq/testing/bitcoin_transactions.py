"""Bitcoin transactions that need neither wallet nor keys: each coin is locked by a script that is always true."""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ANYONE", "Coin", "Payment", "descriptor", "fresh_script", "locking_script", "pay"]

#: The witness script OP_TRUE: whoever shows it may spend the coin.
ANYONE = b"\x51"
#: Signals that the transaction may be replaced (BIP 125), for nodes that ask for the signal.
_REPLACEABLE = struct.pack("<I", 0xFFFFFFFD)
_VERSION = struct.pack("<i", 2)
_LOCK_TIME = bytes(4)
_SEGWIT = b"\x00\x01"


@dataclass(frozen=True, slots=True)
class Coin:
    """An output that can be spent.

    :param txid: Id of the transaction that made it.
    :param index: Its place among that transaction's outputs.
    :param satoshi: Its value.
    :param script: Its witness script, which must be true by itself.
    """

    txid: str
    index: int
    satoshi: int
    script: bytes = ANYONE


@dataclass(frozen=True, slots=True)
class Payment:
    """A transaction that can be sent.

    :param txid: Its id.
    :param raw: The transaction in hexadecimal, as ``sendrawtransaction`` takes it.
    :param coins: Its outputs.
    """

    txid: str
    raw: str
    coins: tuple[Coin, ...]


def locking_script(script: bytes) -> bytes:
    """Return the output script that pays to a witness script (P2WSH, BIP 141)."""
    return b"\x00\x20" + hashlib.sha256(script).digest()


def fresh_script() -> bytes:
    """Return a witness script that is true and that nobody had before."""
    # Pushes these nine bytes, which are true since they are not all zero.
    return b"\x09" + secrets.token_bytes(8) + b"\x01"


def descriptor(script: bytes) -> str:
    """Return the descriptor by which a node mines to a witness script."""
    return f"raw({locking_script(script).hex()})"


def pay(coins: Sequence[Coin], *, fee: int, outputs: int = 1) -> Payment:
    """Make a transaction that spends coins into new ones of equal value.

    Spend the same coin again with another fee, and it is another transaction, which conflicts with the first.

    :param coins: What it spends, wholly.
    :param fee: Satoshi that are left to the miner. A transaction with one coin and one output has a virtual
        size of 96 bytes, and nodes do not relay it for less than about a satoshi per byte.
    :param outputs: How many coins it makes, all locked by :data:`ANYONE`. What does not divide by it is
        left to the miner, too.
    :raises ValueError: The coins do not suffice.
    """
    value = (sum(coin.satoshi for coin in coins) - fee) // outputs
    if value <= 0:
        raise ValueError(f"{len(coins)} coin(s) do not suffice for {outputs} output(s) and a fee of {fee}")
    inputs = b"".join(
        bytes.fromhex(coin.txid)[::-1] + struct.pack("<I", coin.index) + _sized(b"") + _REPLACEABLE
        for coin in coins
    )
    made = (struct.pack("<q", value) + _sized(locking_script(ANYONE))) * outputs
    body = _counted(len(coins)) + inputs + _counted(outputs) + made
    witness = b"".join(_counted(1) + _sized(coin.script) for coin in coins)
    # The id leaves the witness out.
    txid = _double_sha256(_VERSION + body + _LOCK_TIME)[::-1].hex()
    return Payment(
        txid=txid,
        raw=(_VERSION + _SEGWIT + body + witness + _LOCK_TIME).hex(),
        coins=tuple(Coin(txid, index, value) for index in range(outputs)),
    )


def _double_sha256(content: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(content).digest()).digest()


def _sized(content: bytes) -> bytes:
    return _counted(len(content)) + content


def _counted(count: int) -> bytes:
    # Bitcoin's CompactSize.
    if count < 0xFD:
        return bytes((count,))
    if count <= 0xFFFF:
        return b"\xfd" + struct.pack("<H", count)
    return b"\xfe" + struct.pack("<I", count)
