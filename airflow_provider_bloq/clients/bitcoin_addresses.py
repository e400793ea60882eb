"""Addresses of Bitcoin and Bitcoin Cash: whether a text is one, by its form and its checksum."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from types import MappingProxyType

from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["NETWORKS", "bare_address", "is_address", "require_address", "same_address"]


@dataclass(frozen=True, slots=True)
class _Network:
    """How a network's addresses begin.

    :param versions: First bytes of those in Base58.
    :param segwit: Prefix of those in Bech32 (BIP 173, BIP 350).
    :param cash: Prefix of those of Bitcoin Cash (CashAddr).
    """

    versions: frozenset[int]
    segwit: str
    cash: str


#: The networks by their names.
NETWORKS = MappingProxyType(
    {
        "mainnet": _Network(frozenset({0x00, 0x05}), "bc", "bitcoincash"),
        "testnet": _Network(frozenset({0x6F, 0xC4}), "tb", "bchtest"),
        "regtest": _Network(frozenset({0x6F, 0xC4}), "bcrt", "bchreg"),
    }
)

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_ADDRESS = re.compile(f"[{_BASE58}]{{25,35}}", re.ASCII)
_BASE32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CASH_GENERATORS = (0x98F2BC8E61, 0x79B76D99E2, 0xF33E5FB3C4, 0xAE2EABE2A8, 0x1E4F43E470)
#: What the checksum of Bech32 (witness version 0) and of Bech32m (the versions after it) comes to.
_BECH32, _BECH32M = 1, 0x2BC830A3
_LONGEST_BECH32 = 90


def require_address(chain: str, address: object, network: str | None = None, field: str = "address") -> str:
    """Return an address in its usual spelling: no blanks around it, Bech32 and CashAddr in lower case.

    :param chain: ``btc`` or ``bch``.
    :param address: The address.
    :param network: Its network; None for any.
    :param field: What an error calls it.
    :raises BloqConfigurationError: It is none of this chain and network.
    """
    text = address.strip() if isinstance(address, str) else ""
    networks = NETWORKS if network is None else (network,)
    if not any(is_address(chain, text, name) for name in networks):
        raise BloqConfigurationError.of(
            field,
            f"{str(address)[:100]!r} is no address of {chain} {network or ''}".rstrip(),
            "Check it letter by letter: its checksum does not fit, or it is of another chain or network.",
        )
    # Base58 tells cases apart; the others may be written in upper case, as QR codes are.
    return text if _BASE58_ADDRESS.fullmatch(text) else text.lower()


def same_address(one: str | None, other: str) -> bool:
    """Tell whether two addresses in their usual spelling are one, with or without CashAddr's prefix."""
    return one is not None and bare_address(one) == bare_address(other)


def bare_address(address: str) -> str:
    """Return an address in its usual spelling without CashAddr's prefix: two are the same if these are."""
    return address.rpartition(":")[2]


def is_address(chain: str, address: str, network: str) -> bool:
    """Tell whether a text is an address.

    :param chain: ``btc`` or ``bch``. Bitcoin Cash knows CashAddr and the older Base58; on ``regtest`` Bech32 as
        well, since a Bitcoin node may stand in for one of Bitcoin Cash there.
    :param address: The text.
    :param network: ``mainnet``, ``testnet`` or ``regtest``.
    """
    known = NETWORKS[network]
    if _BASE58_ADDRESS.fullmatch(address):
        return _base58_version(address) in known.versions
    if chain == "bch" and _is_cash(address, known.cash):
        return True
    return (chain == "btc" or network == "regtest") and _is_segwit(address, known.segwit)


def _base58_version(address: str) -> int | None:
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
    return body[0] if digest[:4] == checksum else None


def _is_segwit(address: str, prefix: str) -> bool:
    values = _values(address, prefix, "1")
    if values is None or len(address) > _LONGEST_BECH32 or len(values) < 8 or values[0] > 16:
        return False
    expanded = [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]
    checksum = _remainder([*expanded, *values], 25, _BECH32_GENERATORS)
    length = _unpadded_length(values[1:-6])
    if values[0] == 0:
        return checksum == _BECH32 and length in (20, 32)
    return checksum == _BECH32M and length is not None and 2 <= length <= 40


def _is_cash(address: str, prefix: str) -> bool:
    whole = address if ":" in address else f"{prefix}:{address}"
    if address == address.upper() and ":" not in address:
        whole = whole.upper()
    values = _values(whole, prefix, ":")
    if values is None or len(values) < 9:
        return False
    expanded = [ord(letter) & 31 for letter in prefix] + [0]
    # Of the first five bits of the version byte the highest is unused; hashes have 20 to 64 bytes.
    length = _unpadded_length(values[:-8])
    return (
        _remainder([*expanded, *values], 35, _CASH_GENERATORS) == 1
        and length in (21, 25, 29, 33, 41, 49, 57, 65)
        and values[0] < 16
    )


def _values(address: str, prefix: str, separator: str) -> list[int] | None:
    """Return the 5-bit values after the prefix; None where the form is another."""
    if not address.isascii() or (address != address.lower() and address != address.upper()):
        return None
    found, _, data = address.lower().rpartition(separator)
    if found != prefix or not data or not set(data) <= set(_BASE32):
        return None
    return [_BASE32.index(character) for character in data]


def _remainder(values: list[int], shift: int, generators: tuple[int, ...]) -> int:
    rest = 1
    for value in values:
        top = rest >> shift
        rest = (rest & ((1 << shift) - 1)) << 5 ^ value
        for bit, generator in enumerate(generators):
            if top >> bit & 1:
                rest ^= generator
    return rest


def _unpadded_length(values: list[int]) -> int | None:
    """Return how many bytes the values hold; None where what is left over is no padding."""
    bits = len(values) * 5
    padding = bits % 8
    if padding >= 5 or (values and values[-1] & ((1 << padding) - 1)):
        return None
    return bits // 8
