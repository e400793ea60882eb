"""A signed transaction of Bitcoin or Bitcoin Cash as bytes, and the id that it will have."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = [
    "RawTransaction",
    "require_txid",
]


_TXID = re.compile(r"[0-9a-f]{64}", re.ASCII)
#: Bytes of the largest transaction that a block can hold.
_LARGEST = 4_000_000
#: Bytes of an input besides its script: id and place of the output that is spent, and the sequence number.
_OUTPOINT, _SEQUENCE = 36, 4
_VALUE, _VERSION, _LOCK_TIME = 8, 4, 4


@dataclass(frozen=True, slots=True)
class RawTransaction:
    """A transaction ready to be sent. Make it by :meth:`read`.

    :param txid: Its id: the double SHA-256 of its bytes without the witnesses (BIP 141), byte by byte reversed.
    :param raw: All of it, in lower-case hex.
    """

    txid: str
    raw: str

    @classmethod
    def read(cls, text: object, field: str = "raw_transaction") -> RawTransaction:
        """Read a transaction in hex.

        :param text: The hex; blanks and line breaks around it are dropped.
        :param field: What an error calls it.
        :raises BloqConfigurationError: It is no whole transaction.
        """
        try:
            content = _bytes_of(text)
            txid = _txid(content)
        except ValueError as odd:
            raise BloqConfigurationError.of(
                field, f"it is no signed transaction in hex: {odd}", "Give what the wallet signed, unchanged."
            ) from None
        return cls(txid, content.hex())


def require_txid(txid: object, field: str = "txid") -> str:
    """Return the id of a transaction, or the hash of a block, in lower case and without blanks around it.

    :param field: What an error calls it.
    :raises BloqConfigurationError: It is not 32 bytes in hex.
    """
    text = txid.strip().lower() if isinstance(txid, str) else ""
    if not _TXID.fullmatch(text):
        raise BloqConfigurationError.of(
            field, f"{str(txid)[:80]!r} is not 32 bytes in hex", "Give its 64 hex characters, without 0x."
        )
    return text


def _bytes_of(text: object) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"it is of type {type(text).__name__}")  # noqa: TRY004 - one error for all that is wrong
    stripped = text.strip()
    if not stripped:
        raise ValueError("it is empty")
    if len(stripped) > 2 * _LARGEST:
        raise ValueError("it is larger than a block")
    try:
        return bytes.fromhex(stripped)
    except ValueError:
        # Python's own message quotes a part.
        raise ValueError("it holds something that is no hex") from None


def _txid(content: bytes) -> str:
    reader = _Reader(content)
    version = reader.take(_VERSION)
    has_witness = content[_VERSION : _VERSION + 2] == b"\x00\x01"
    if has_witness:
        reader.take(2)
    start = reader.place
    inputs = reader.count()
    if not inputs:
        raise ValueError("it spends nothing")
    for _ in range(inputs):
        reader.take(_OUTPOINT)
        reader.take(reader.count())
        reader.take(_SEQUENCE)
    for _ in range(reader.count()):
        reader.take(_VALUE)
        reader.take(reader.count())
    body = content[start : reader.place]
    for _ in range(inputs if has_witness else 0):
        for _ in range(reader.count()):
            reader.take(reader.count())
    lock_time = reader.take(_LOCK_TIME)
    if reader.place != len(content):
        raise ValueError("there is something after its end")
    digest = hashlib.sha256(hashlib.sha256(version + body + lock_time).digest()).digest()
    return digest[::-1].hex()


class _Reader:
    """Reads bytes one part after the other.

    :param content: The bytes.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.place = 0

    def take(self, size: int) -> bytes:
        """Return the next bytes.

        :raises ValueError: There are not so many.
        """
        part = self._content[self.place : self.place + size]
        if len(part) < size:
            raise ValueError("it ends too early")
        self.place += size
        return part

    def count(self) -> int:
        """Return the next count (CompactSize)."""
        first = self.take(1)[0]
        width = {0xFD: 2, 0xFE: 4, 0xFF: 8}.get(first)
        return first if width is None else int.from_bytes(self.take(width), "little")
