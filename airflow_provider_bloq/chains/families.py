"""Families of chains: those whose nodes answer the same JSON-RPC."""

from __future__ import annotations

from enum import StrEnum

from airflow_provider_bloq.clients.addresses import BITCOIN_LIKE
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["Family", "family_named", "family_of"]

#: Chains whose nodes answer as Ethereum's do at the address that ``clients.addresses`` gives them. Those of
#: Avalanche do so at another path than the documented one only, so for them it has to be said.
EVM_LIKE = frozenset({"eth", "etc", "polygon"})

_REMEDY = (
    "Give family='evm' if it answers as Ethereum's nodes do (with the path where it does so, if that is not the "
    "chain's own), family='bitcoin' if as Bitcoin's do."
)


class Family(StrEnum):
    """How the nodes of a chain are talked to."""

    EVM = "evm"
    BITCOIN = "bitcoin"


def family_of(chain: str | None) -> Family:
    """Return the family of a chain.

    :param chain: The chain as a node or cluster names it, such as ``eth``; None for a mere URL.
    :raises BloqConfigurationError: It cannot be told from that.
    """
    name = (chain or "").strip().lower()
    if name in EVM_LIKE:
        return Family.EVM
    if name in BITCOIN_LIKE:
        return Family.BITCOIN
    problem = (
        f"it is not known how nodes of {name!r} answer" if name else "a URL does not tell what answers there"
    )
    raise BloqConfigurationError.of("family", problem, _REMEDY)


def family_named(name: str) -> Family:
    """Return the family of that name.

    :raises BloqConfigurationError: There is none.
    """
    try:
        return Family(name)
    except ValueError:
        raise BloqConfigurationError.of("family", f"{name!r} is none", _REMEDY) from None
