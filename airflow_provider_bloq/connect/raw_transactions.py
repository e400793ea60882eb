"""Signed transactions of Bitcoin and Bitcoin Cash in hex, and their ids."""

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
#: Size in bytes of the largest transaction that fits in a block.
_LARGEST = 4_000_000
#: Sizes in bytes: of the output reference and the sequence number of an input, and of other fields.
_OUTPOINT, _SEQUENCE = 36, 4
_VALUE, _VERSION, _LOCK_TIME = 8, 4, 4


@dataclass(frozen=True, slots=True)
class RawTransaction:
    """A signed transaction. Create it with :meth:`read`.

    :param txid: Its id: the double SHA-256 of its bytes without the witnesses (BIP 141), in reversed byte order.
    :param raw: The whole transaction in lower-case hex.
    """

    txid: str
    raw: str

    @classmethod
    def read(cls, text: object, field: str = "raw_transaction") -> RawTransaction:
        """Parse a transaction in hex.

        :param text: The hex; surrounding blanks and line breaks are ignored.
        :param field: Name of the argument, for the error.
        :raises BloqConfigurationError: It is not a complete transaction.
        """
        try:
            content = _bytes_of(text)
            return cls(_txid(content), content.hex())
        except ValueError as error:
            raise BloqConfigurationError.of(
                field,
                f"it is not a signed transaction in hex: {error}",
                "Pass what the wallet signed, unchanged.",
            ) from None


def require_txid(txid: object, field: str = "txid") -> str:
    """Return the id of a transaction, or the hash of a block, in lower case and without surrounding blanks.

    :param field: Name of the argument, for the error.
    :raises BloqConfigurationError: It is not 32 bytes in hex.
    """
    text = txid.strip().lower() if isinstance(txid, str) else ""
    if not _TXID.fullmatch(text):
        raise BloqConfigurationError.of(
            field, f"{str(txid)[:80]!r} is not 32 bytes in hex", "Pass its 64 hex characters, without 0x."
        )
    return text


def _bytes_of(text: object) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"it is of type {type(text).__name__}")  # noqa: TRY004 - the caller handles one type
    stripped = text.strip()
    if not stripped:
        raise ValueError("it is empty")
    if len(stripped) > 2 * _LARGEST:
        raise ValueError("it is larger than a block")
    try:
        return bytes.fromhex(stripped)
    except ValueError:
        # Python's message quotes a part of the text.
        raise ValueError("it contains characters that are not hex") from None


def _txid(content: bytes) -> str:
    reader = _Reader(content)
    version = reader.take(_VERSION)
    has_witness = content[_VERSION : _VERSION + 2] == b"\x00\x01"
    if has_witness:
        reader.take(2)
    start = reader.position
    inputs = reader.count()
    if not inputs:
        raise ValueError("it has no inputs")
    for _ in range(inputs):
        reader.take(_OUTPOINT)
        reader.take(reader.count())
        reader.take(_SEQUENCE)
    for _ in range(reader.count()):
        reader.take(_VALUE)
        reader.take(reader.count())
    body = content[start : reader.position]
    for _ in range(inputs if has_witness else 0):
        for _ in range(reader.count()):
            reader.take(reader.count())
    lock_time = reader.take(_LOCK_TIME)
    if reader.position != len(content):
        raise ValueError("it has extra bytes at its end")
    digest = hashlib.sha256(hashlib.sha256(version + body + lock_time).digest()).digest()
    return digest[::-1].hex()


class _Reader:
    """Reads the fields of a transaction in order."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.position = 0

    def take(self, size: int) -> bytes:
        """Return the next bytes.

        :raises ValueError: There are fewer.
        """
        part = self._content[self.position : self.position + size]
        if len(part) < size:
            raise ValueError("it ends too early")
        self.position += size
        return part

    def count(self) -> int:
        """Read a count (CompactSize)."""
        first = self.take(1)[0]
        width = {0xFD: 2, 0xFE: 4, 0xFF: 8}.get(first)
        return first if width is None else int.from_bytes(self.take(width), "little")
