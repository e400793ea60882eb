"""``BloqAddressTrigger``: fires on transfers to or from addresses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from airflow_provider_bloq.chains.tellings import Telling, Transfers
from airflow_provider_bloq.chains.transfers import TransferFilter
from airflow_provider_bloq.triggers.chain_events import BloqChainTrigger

__all__ = ["BloqAddressTrigger"]


class BloqAddressTrigger(BloqChainTrigger):
    """Fire on each final block that holds transfers to or from certain addresses.

    An event tells of the transfers of one block, in their order; of more than 100 in several parts::

        {"event": "transfers", "id": "transfers:100:0x7c…:1", "height": 100, "block_hash": "0x7c…",
         "time": 1750000000, "part": 1, "parts": 1, "redelivered": false,
         "transfers": [{"tx_hash": "0x11…", "tx_index": 0, "log_index": null, "token": null,
                        "from": "0xf3…", "to": "0x70…", "amount": "1000000000000000000"}]}

    On EVM chains these are the transactions that carry the chain's own coin and have not been reverted, and the
    ``Transfer`` logs of ERC-20 tokens, with the contract as ``token``. What contracts pay out of the chain's coin
    within a transaction is not seen: only tracing nodes know it. On Bitcoin's chains they are outputs that pay an
    address (``output`` is the number, ``from`` null) and inputs that spend what it had (``input``, ``to`` null).

    Amounts are decimal strings in the smallest unit: wei, satoshi, or whatever a token counts in. Addresses are in
    lower case, except where their case has a meaning.

    For reorgs, restarts and the other arguments see
    :class:`~airflow_provider_bloq.triggers.chain_events.BloqChainTrigger`.

    :param addresses: The address, or several.
    :param direction: ``to``, ``from`` or ``both``. Senders on Bitcoin's chains are known to nodes since Bitcoin
        Core 23 only.
    :param native: Whether to watch the chain's own coin. It takes every block with all its transactions, where
        for tokens the node searches.
    :param tokens: Contracts of the tokens to watch; None for any token, an empty list for none.
    """

    kind: ClassVar[str] = "transfers"

    def __init__(
        self,
        *,
        addresses: Iterable[str] | str,
        direction: str = "both",
        native: bool = True,
        tokens: Iterable[str] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.wanted = TransferFilter.of(addresses, direction=direction, native=native, tokens=tokens)

    @property
    def telling(self) -> Telling:
        """See :attr:`BloqEventTrigger.telling`."""
        return Transfers(self.wanted)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See :meth:`BloqEventTrigger.serialize`."""
        classpath, arguments = super().serialize()
        tokens = self.wanted.tokens
        return classpath, {
            **arguments,
            "addresses": sorted(self.wanted.addresses),
            "direction": self.wanted.direction,
            "native": self.wanted.native,
            "tokens": None if tokens is None else sorted(tokens),
        }
