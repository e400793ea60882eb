"""CashAddr, the spelling of addresses that Bitcoin Cash has of its own, and what Bech32 shares with it."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["cash_content", "cash_spelling", "remainder", "unpadded", "values_after"]

_BASE32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATORS = (0x98F2BC8E61, 0x79B76D99E2, 0xF33E5FB3C4, 0xAE2EABE2A8, 0x1E4F43E470)
_CHECKSUM = 8
#: Bytes of a hash, by the three lowest bits of the byte in front of it.
_LENGTHS = (20, 24, 28, 32, 40, 48, 56, 64)


def cash_content(address: str, prefix: str) -> tuple[int, bytes] | None:
    """Return the type and the hash of an address.

    :param address: The address, with or without its prefix.
    :param prefix: The prefix that it must have, such as ``bitcoincash``.
    :return: None where it is none of this prefix.
    """
    whole = address if ":" in address else f"{prefix}:{address}"
    if ":" not in address and address == address.upper():
        whole = whole.upper()
    values = values_after(whole, prefix, ":")
    if values is None or remainder([*_expanded(prefix), *values], 35, _GENERATORS) != 1:
        return None
    content = unpadded(values[:-_CHECKSUM])
    # The highest bit of the first byte is unused.
    if not content or content[0] & 0x80 or len(content) != 1 + _LENGTHS[content[0] & 7]:
        return None
    return content[0] >> 3, content[1:]


def cash_spelling(prefix: str, kind: int, hashed: bytes) -> str:
    """Write an address, in lower case and with its prefix.

    :param prefix: The prefix, such as ``bitcoincash``.
    :param kind: The type: 0 of a key, 1 of a script.
    :param hashed: The hash.
    """
    content = bytes([kind << 3 | _LENGTHS.index(len(hashed))]) + hashed
    spare = -len(content) * 8 % 5
    bits = int.from_bytes(content, "big") << spare
    count = (len(content) * 8 + spare) // 5
    values = [bits >> 5 * place & 31 for place in reversed(range(count))]
    rest = remainder([*_expanded(prefix), *values, *[0] * _CHECKSUM], 35, _GENERATORS) ^ 1
    values += [rest >> 5 * place & 31 for place in reversed(range(_CHECKSUM))]
    return f"{prefix}:{''.join(_BASE32[value] for value in values)}"


def values_after(address: str, prefix: str, separator: str) -> list[int] | None:
    """Return the 5-bit values after the prefix; None where the form is another."""
    if not address.isascii() or (address != address.lower() and address != address.upper()):
        return None
    found, _, data = address.lower().rpartition(separator)
    if found != prefix or not data or not set(data) <= set(_BASE32):
        return None
    return [_BASE32.index(character) for character in data]


def remainder(values: Sequence[int], shift: int, generators: Sequence[int]) -> int:
    """Return what remains of 5-bit values divided by the polynomial of a checksum."""
    rest = 1
    for value in values:
        top = rest >> shift
        rest = (rest & ((1 << shift) - 1)) << 5 ^ value
        for bit, generator in enumerate(generators):
            if top >> bit & 1:
                rest ^= generator
    return rest


def unpadded(values: Sequence[int]) -> bytes | None:
    """Return the bytes that 5-bit values hold; None where what is left over is no padding."""
    padding = len(values) * 5 % 8
    bits = 0
    for value in values:
        bits = bits << 5 | value
    if padding >= 5 or bits & ((1 << padding) - 1):
        return None
    return (bits >> padding).to_bytes(len(values) * 5 // 8, "big")


def _expanded(prefix: str) -> list[int]:
    return [ord(letter) & 31 for letter in prefix] + [0]
