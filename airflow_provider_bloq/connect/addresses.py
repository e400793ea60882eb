"""CashAddr, the spelling of addresses that Bitcoin Cash has of its own, and what Bech32 shares with it."""

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
    "bare_address",
    "cash_content",
    "cash_spelling",
    "is_address",
    "remainder",
    "require_address",
    "same_address",
    "unpadded",
    "values_after",
]


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


@dataclass(frozen=True, slots=True)
class _Network:
    """How a network's addresses begin.

    :param versions: First bytes of those in Base58: of a key's hash, and of a script's.
    :param segwit: Prefix of those in Bech32 (BIP 173, BIP 350).
    :param cash: Prefix of those of Bitcoin Cash (CashAddr).
    """

    versions: tuple[int, int]
    segwit: str
    cash: str


#: The networks by their names.
NETWORKS = MappingProxyType(
    {
        "mainnet": _Network((0x00, 0x05), "bc", "bitcoincash"),
        "testnet": _Network((0x6F, 0xC4), "tb", "bchtest"),
        "regtest": _Network((0x6F, 0xC4), "bcrt", "bchreg"),
    }
)

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_ADDRESS = re.compile(f"[{_BASE58}]{{25,35}}", re.ASCII)
_BECH32_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
#: What the checksum of Bech32 (witness version 0) and of Bech32m (the versions after it) comes to.
_BECH32, _BECH32M = 1, 0x2BC830A3
_LONGEST_BECH32 = 90
#: Types of CashAddr by which wallets tell that they know tokens (CHIP-2022-02); whom they pay is the same.
_WITH_TOKENS = {2: 0, 3: 1}
#: A process has to do with few addresses, and meets each in every transaction and at every look.
_REMEMBERED = 4096


def require_address(chain: str, address: object, network: str | None = None, field: str = "address") -> str:
    """Return an address in the one spelling that requests and results have: no blanks around it, Bech32 in lower
    case, and on Bitcoin Cash CashAddr with its prefix.

    Base58 stays where the network is not known and is none that means money, and on ``regtest``, where a Bitcoin
    node may stand in that knows no CashAddr.

    :param chain: ``btc`` or ``bch``.
    :param address: The address.
    :param network: Its network; None for any.
    :param field: What an error calls it.
    :raises BloqConfigurationError: It is none of this chain and network.
    """
    text = address.strip() if isinstance(address, str) else ""
    networks = NETWORKS if network is None else (network,)
    found = [name for name in networks if is_address(chain, text, name)]
    if not found:
        raise BloqConfigurationError.of(
            field,
            f"{str(address)[:100]!r} is no address of {chain} {network or ''}".rstrip(),
            "Check it letter by letter: its checksum does not fit, or it is of another chain or network.",
        )
    return _usual(chain, text, found)


def same_address(one: str | None, other: str) -> bool:
    """Tell whether two addresses of one chain are the same, however each is spelled."""
    return one is not None and (one == other or bare_address(one) == bare_address(other))


@lru_cache(maxsize=_REMEMBERED)
def bare_address(address: str) -> str:
    """Return what an address stands for, without its spelling: two of one chain are the same if these are.

    Bitcoin Cash has three: Base58, and CashAddr with and without its prefix.

    :param address: The address. Of what cannot be read only a prefix is taken away.
    """
    content = _base58_content(address)
    if content is not None:
        for known in NETWORKS.values():
            if content[0] in known.versions:
                return _bare(known, known.versions.index(content[0]), content[1])
        return address
    for known in NETWORKS.values():
        cash = cash_content(address, known.cash)
        if cash is not None:
            return _bare(known, *cash)
        if _is_segwit(address, known.segwit):
            return address.lower()
    return address.rpartition(":")[2]


@lru_cache(maxsize=_REMEMBERED)
def is_address(chain: str, address: str, network: str) -> bool:
    """Tell whether a text is an address.

    :param chain: ``btc`` or ``bch``. Bitcoin Cash knows CashAddr and the older Base58; on ``regtest`` Bech32 as
        well, since a Bitcoin node may stand in for one of Bitcoin Cash there.
    :param address: The text.
    :param network: ``mainnet``, ``testnet`` or ``regtest``.
    """
    known = NETWORKS[network]
    if _BASE58_ADDRESS.fullmatch(address):
        content = _base58_content(address)
        return content is not None and content[0] in known.versions
    if chain == "bch":
        cash = cash_content(address, known.cash)
        # Types above are kept for the future.
        if cash is not None and cash[0] <= max(_WITH_TOKENS):
            return True
    return (chain == "btc" or network == "regtest") and _is_segwit(address, known.segwit)


def _usual(chain: str, address: str, networks: list[str]) -> str:
    # The networks of tests share their first bytes: which of them is meant shows only where one is named.
    known = NETWORKS[networks[0]]
    if chain == "bch" and len(networks) == 1:
        content = _base58_content(address)
        if content is not None and networks != ["regtest"]:
            return cash_spelling(known.cash, known.versions.index(content[0]), content[1])
        cash = cash_content(address, known.cash)
        if cash is not None:
            return cash_spelling(known.cash, _WITH_TOKENS.get(cash[0], cash[0]), cash[1])
    # Base58 tells cases apart; the others may be written in upper case, as QR codes are.
    return address if _BASE58_ADDRESS.fullmatch(address) else address.lower()


def _bare(network: _Network, kind: int, hashed: bytes) -> str:
    # Base58 does not tell one network of tests from another.
    money = network is NETWORKS["mainnet"]
    return f"{'' if money else 'test '}{_WITH_TOKENS.get(kind, kind)} {hashed.hex()}"


def _base58_content(address: str) -> tuple[int, bytes] | None:
    """Return the first byte and the hash of an address in Base58; None where it is none."""
    if not _BASE58_ADDRESS.fullmatch(address):
        return None
    number = 0
    for character in address:
        number = number * 58 + _BASE58.index(character)
    if number >= 1 << 200:
        return None
    content = number.to_bytes(25, "big")
    # Each leading zero byte is written as one "1", and no other is.
    zeros = len(content) - len(content.lstrip(b"\0"))
    if zeros != len(address) - len(address.lstrip("1")):
        return None
    body, checksum = content[:-4], content[-4:]
    digest = hashlib.sha256(hashlib.sha256(body).digest()).digest()
    return (body[0], body[1:]) if digest[:4] == checksum else None


def _is_segwit(address: str, prefix: str) -> bool:
    values = values_after(address, prefix, "1")
    if values is None or len(address) > _LONGEST_BECH32 or len(values) < 8 or values[0] > 16:
        return False
    expanded = [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]
    checksum = remainder([*expanded, *values], 25, _BECH32_GENERATORS)
    program = unpadded(values[1:-6])
    if values[0] == 0:
        return checksum == _BECH32 and program is not None and len(program) in (20, 32)
    return checksum == _BECH32M and program is not None and 2 <= len(program) <= 40
