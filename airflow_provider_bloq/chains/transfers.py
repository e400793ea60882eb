"""Transfers of a chain's own coin and of tokens, to or from certain addresses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from airflow_provider_bloq.chains.evm_logs import evm_address
from airflow_provider_bloq.clients.limits import require_choice
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["DIRECTIONS", "TransferFilter", "normalised_address"]

#: Whether the addresses are watched as receivers, as senders, or as both.
DIRECTIONS = ("both", "to", "from")
#: How addresses begin that may be written in upper case, too.
_SEGWIT = ("bc1", "tb1", "bcrt1", "ltc1", "tltc1", "rltc1", "bitcoincash:", "bchtest:", "bchreg:")


@dataclass(frozen=True, slots=True)
class TransferFilter:
    """Which transfers are wanted. Make it by :meth:`of`.

    :param addresses: The addresses, in the form in which nodes write them.
    :param direction: One of :data:`DIRECTIONS`.
    :param native: Whether those of the chain's own coin are wanted.
    :param tokens: Contracts of the tokens that are wanted; None for any token.
    """

    addresses: frozenset[str]
    direction: str = "both"
    native: bool = True
    tokens: frozenset[str] | None = None

    @classmethod
    def of(
        cls,
        addresses: Iterable[str] | str,
        *,
        direction: str = "both",
        native: bool = True,
        tokens: Iterable[str] | None = None,
    ) -> TransferFilter:
        """Read a filter from the arguments that triggers take.

        :raises BloqConfigurationError: One of these cannot be, or nothing is wanted.
        """
        given = [addresses] if isinstance(addresses, str) else list(addresses)
        if not given:
            raise BloqConfigurationError.of("addresses", "there are none", "Give at least one.")
        require_choice("direction", direction, DIRECTIONS)
        if isinstance(tokens, str):
            tokens = [tokens]
        contracts = None if tokens is None else frozenset(evm_address("tokens", token) for token in tokens)
        if not native and contracts is not None and not contracts:
            raise BloqConfigurationError.of(
                "native", "neither the chain's coin nor any token is wanted", "Give native=True, or tokens."
            )
        return cls(frozenset(map(normalised_address, given)), direction, native, contracts)

    @property
    def is_to(self) -> bool:
        """Whether transfers to the addresses are wanted."""
        return self.direction != "from"

    @property
    def is_from(self) -> bool:
        """Whether transfers from the addresses are wanted."""
        return self.direction != "to"

    @property
    def wants_tokens(self) -> bool:
        """Whether transfers of tokens are wanted."""
        return self.tokens is None or bool(self.tokens)

    def matches(self, sender: str | None, receiver: str | None) -> bool:
        """Tell whether a transfer between two addresses is wanted; None is an address that is not known."""
        return (self.is_to and receiver in self.addresses) or (self.is_from and sender in self.addresses)


def normalised_address(value: object) -> str:
    """Return an address as nodes write it: in lower case, except for the forms where the case has a meaning.

    :raises BloqConfigurationError: It is none.
    """
    if not isinstance(value, str) or not value.strip() or not value.isascii() or " " in value.strip():
        raise BloqConfigurationError.of("addresses", f"{value!r} is no address", "Give addresses as text.")
    address = value.strip()
    if address.lower().startswith("0x"):
        return evm_address("addresses", address)
    return address.lower() if address.lower().startswith(_SEGWIT) else address
