"""Addresses of Bitcoin and Bitcoin Cash: validation, their canonical form, and comparison.

Formats: Base58Check, Bech32 (BIP 173), Bech32m (BIP 350) and CashAddr
(https://github.com/bitcoincashorg/bitcoincash.org/blob/master/spec/cashaddr.md).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = [
    "NETWORKS",
    "address_key",
    "decode_cashaddr",
    "encode_cashaddr",
    "is_address",
    "require_address",
    "same_address",
]


@dataclass(frozen=True, slots=True)
class _Network:
    """The address prefixes of a network.

    :param versions: First bytes in Base58Check: of public key hashes and of script hashes.
    :param segwit: Prefix in Bech32 and Bech32m.
    :param cash: Prefix in CashAddr.
    """

    versions: tuple[int, int]
    segwit: str
    cash: str


#: The networks by name.
NETWORKS = MappingProxyType(
    {
        "mainnet": _Network((0x00, 0x05), "bc", "bitcoincash"),
        "testnet": _Network((0x6F, 0xC4), "tb", "bchtest"),
        "regtest": _Network((0x6F, 0xC4), "bcrt", "bchreg"),
    }
)

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_ADDRESS = re.compile(f"[{_BASE58}]{{25,35}}", re.ASCII)
_BASE32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
#: The remainders of valid checksums in Bech32 (witness version 0) and Bech32m (later versions).
_BECH32, _BECH32M = 1, 0x2BC830A3
_LONGEST_BECH32 = 90
_CASH_GENERATORS = (0x98F2BC8E61, 0x79B76D99E2, 0xF33E5FB3C4, 0xAE2EABE2A8, 0x1E4F43E470)
_CASH_CHECKSUM = 8
#: Hash sizes in bytes, by the three lowest bits of the version byte.
_CASH_HASH_SIZES = (20, 24, 28, 32, 40, 48, 56, 64)
#: CashAddr types that announce support for tokens (CHIP-2022-02), and the type of the same address without it.
_TOKEN_AWARE = {2: 0, 3: 1}
#: A process handles few addresses, but sees each in every transaction of every poll.
_CACHED = 4096


def require_address(chain: str, address: object, network: str | None = None, field: str = "address") -> str:
    """Return an address in canonical form: without surrounding blanks, and in lower case if it is Bech32. On Bitcoin
    Cash it is a CashAddr with its prefix.

    Base58 is kept for test addresses of an unknown network and on ``regtest``, where a Bitcoin node that does not
    know CashAddr may stand in for one of Bitcoin Cash.

    :param chain: ``btc`` or ``bch``.
    :param address: The address.
    :param network: Its network; None for any.
    :param field: Name of the argument, for the error.
    :raises BloqConfigurationError: It is not an address of this chain and network.
    """
    text = address.strip() if isinstance(address, str) else ""
    found = [name for name in (NETWORKS if network is None else (network,)) if is_address(chain, text, name)]
    if not found:
        raise BloqConfigurationError.of(
            field,
            f"{str(address)[:100]!r} is not an address of {chain} {network or ''}".rstrip(),
            "Check it letter by letter: its checksum is wrong, or it belongs to another chain or network.",
        )
    # The test networks share their Base58 versions. If several match, the network is unknown.
    known = NETWORKS[found[0]]
    if chain == "bch" and len(found) == 1:
        content = _decode_base58(text)
        if content is not None and found != ["regtest"]:
            return encode_cashaddr(known.cash, known.versions.index(content[0]), content[1])
        cash = decode_cashaddr(text, known.cash)
        if cash is not None:
            return encode_cashaddr(known.cash, _TOKEN_AWARE.get(cash[0], cash[0]), cash[1])
    # Only Base58 is case-sensitive. The others may be in upper case, as in QR codes.
    return text if _BASE58_ADDRESS.fullmatch(text) else text.lower()


def same_address(one: str | None, other: str) -> bool:
    """Return whether two addresses of one chain are the same, whatever their formats."""
    return one is not None and (one == other or address_key(one) == address_key(other))


@lru_cache(maxsize=_CACHED)
def address_key(address: str) -> str:
    """Return a key that is equal for all formats of an address.

    On Bitcoin Cash these are Base58, and CashAddr with and without its prefix.

    :param address: The address. If it cannot be decoded, only its prefix is removed.
    """
    content = _decode_base58(address)
    if content is not None:
        for known in NETWORKS.values():
            if content[0] in known.versions:
                return _hash_key(known, known.versions.index(content[0]), content[1])
        return address
    for known in NETWORKS.values():
        cash = decode_cashaddr(address, known.cash)
        if cash is not None:
            return _hash_key(known, *cash)
        if _is_segwit(address, known.segwit):
            return address.lower()
    return address.rpartition(":")[2]


def _hash_key(network: _Network, kind: int, hashed: bytes) -> str:
    # Base58 does not distinguish the test networks.
    prefix = "" if network is NETWORKS["mainnet"] else "test "
    return f"{prefix}{_TOKEN_AWARE.get(kind, kind)} {hashed.hex()}"


@lru_cache(maxsize=_CACHED)
def is_address(chain: str, address: str, network: str) -> bool:
    """Return whether a text is an address.

    :param chain: ``btc`` or ``bch``. Bitcoin Cash has CashAddr and Base58; on ``regtest`` Bech32 is accepted as well,
        since a Bitcoin node may stand in for one of Bitcoin Cash there.
    :param address: The text.
    :param network: ``mainnet``, ``testnet`` or ``regtest``.
    """
    known = NETWORKS[network]
    if _BASE58_ADDRESS.fullmatch(address):
        content = _decode_base58(address)
        return content is not None and content[0] in known.versions
    if chain == "bch":
        cash = decode_cashaddr(address, known.cash)
        # Higher types are reserved.
        if cash is not None and cash[0] <= max(_TOKEN_AWARE):
            return True
    return (chain == "btc" or network == "regtest") and _is_segwit(address, known.segwit)


def decode_cashaddr(address: str, prefix: str) -> tuple[int, bytes] | None:
    """Return the type and the hash of a CashAddr; None if it is not one with this prefix.

    :param address: The address, with or without its prefix.
    :param prefix: The prefix, such as ``bitcoincash``.
    """
    whole = address if ":" in address else f"{prefix}:{address}"
    if ":" not in address and address == address.upper():
        whole = whole.upper()
    values = _values_after(whole, prefix, ":")
    if values is None or _polymod([*_expanded(prefix), *values], 35, _CASH_GENERATORS) != 1:
        return None
    content = _to_bytes(values[:-_CASH_CHECKSUM])
    # The highest bit of the version byte is unused.
    if not content or content[0] & 0x80 or len(content) != 1 + _CASH_HASH_SIZES[content[0] & 7]:
        return None
    return content[0] >> 3, content[1:]


def encode_cashaddr(prefix: str, kind: int, hashed: bytes) -> str:
    """Return a CashAddr in lower case and with its prefix.

    :param prefix: The prefix, such as ``bitcoincash``.
    :param kind: The type: 0 for a public key hash, 1 for a script hash.
    :param hashed: The hash.
    """
    content = bytes([kind << 3 | _CASH_HASH_SIZES.index(len(hashed))]) + hashed
    padding = -len(content) * 8 % 5
    values = _split(int.from_bytes(content, "big") << padding, (len(content) * 8 + padding) // 5)
    checksum = _polymod([*_expanded(prefix), *values, *[0] * _CASH_CHECKSUM], 35, _CASH_GENERATORS) ^ 1
    return f"{prefix}:{''.join(_BASE32[value] for value in values + _split(checksum, _CASH_CHECKSUM))}"


def _split(bits: int, count: int) -> list[int]:
    return [bits >> 5 * index & 31 for index in reversed(range(count))]


def _expanded(prefix: str) -> list[int]:
    return [ord(letter) & 31 for letter in prefix] + [0]


def _is_segwit(address: str, prefix: str) -> bool:
    values = _values_after(address, prefix, "1")
    if values is None or len(address) > _LONGEST_BECH32 or len(values) < 8 or values[0] > 16:
        return False
    checksum = _polymod(
        [*(ord(letter) >> 5 for letter in prefix), 0, *(ord(letter) & 31 for letter in prefix), *values],
        25,
        _BECH32_GENERATORS,
    )
    program = _to_bytes(values[1:-6])
    if values[0] == 0:
        return checksum == _BECH32 and program is not None and len(program) in (20, 32)
    return checksum == _BECH32M and program is not None and 2 <= len(program) <= 40


def _values_after(address: str, prefix: str, separator: str) -> list[int] | None:
    """Return the 5-bit values after the prefix; None if there is no such prefix or a character is invalid."""
    if not address.isascii() or (address != address.lower() and address != address.upper()):
        return None
    found, _, data = address.lower().rpartition(separator)
    if found != prefix or not data or not set(data) <= set(_BASE32):
        return None
    return [_BASE32.index(character) for character in data]


def _polymod(values: Sequence[int], shift: int, generators: Sequence[int]) -> int:
    """Return the remainder of 5-bit values modulo the checksum polynomial."""
    rest = 1
    for value in values:
        top = rest >> shift
        rest = (rest & ((1 << shift) - 1)) << 5 ^ value
        for bit, generator in enumerate(generators):
            if top >> bit & 1:
                rest ^= generator
    return rest


def _to_bytes(values: Sequence[int]) -> bytes | None:
    """Convert 5-bit values to bytes; None if the padding is invalid."""
    padding = len(values) * 5 % 8
    bits = 0
    for value in values:
        bits = bits << 5 | value
    if padding >= 5 or bits & ((1 << padding) - 1):
        return None
    return (bits >> padding).to_bytes(len(values) * 5 // 8, "big")


def _decode_base58(address: str) -> tuple[int, bytes] | None:
    """Return the version byte and the hash of a Base58Check address; None if it is not one."""
    if not _BASE58_ADDRESS.fullmatch(address):
        return None
    number = 0
    for character in address:
        number = number * 58 + _BASE58.index(character)
    if number >= 1 << 200:
        return None
    content = number.to_bytes(25, "big")
    # Each leading zero byte is written as exactly one "1".
    zeros = len(content) - len(content.lstrip(b"\0"))
    if zeros != len(address) - len(address.lstrip("1")):
        return None
    body, checksum = content[:-4], content[-4:]
    digest = hashlib.sha256(hashlib.sha256(body).digest()).digest()
    return (body[0], body[1:]) if digest[:4] == checksum else None
