"""Addresses of Bitcoin and Bitcoin Cash: whether a text is one, by form and checksum, and which are the same."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from airflow_provider_bloq.clients.cash_address import (
    cash_content,
    cash_spelling,
    remainder,
    unpadded,
    values_after,
)
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["NETWORKS", "bare_address", "is_address", "require_address", "same_address"]


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
