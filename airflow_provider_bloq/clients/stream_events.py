"""The rooms of Connect's stream, and what its events say.

Rooms and events are those of Bloq's old pages on the WebSocket API: ``inv`` tells of every transaction (``tx``) and
block (``block``), ``bitcoind/addresstxid`` of transactions of given addresses, in events that bear their names. How
a room is joined is not written there; it is done as in Insight, whose code Bloq runs
(https://github.com/bitpay/insight-api).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from airflow_provider_bloq.clients.stream_packets import Event, subscription

__all__ = ["is_block", "subscriptions", "txid_in"]

_ALL = "inv"
_OF_ADDRESSES = "bitcoind/addresstxid"
_BLOCK = "block"
#: Events that are about no address in particular.
_COMMON = frozenset({_BLOCK, "tx", "disconnect"})
_TXID = re.compile(r"[0-9a-f]{64}", re.ASCII)


def subscriptions(addresses: Sequence[str]) -> list[str]:
    """Return the packets by which a listener joins its rooms: that of blocks always.

    :param addresses: Of whose transactions it wants to hear.
    """
    joining = [subscription(_ALL)]
    return [*joining, subscription(_OF_ADDRESSES, addresses)] if addresses else joining


def is_block(event: Event) -> bool:
    """Tell whether an event announces a block."""
    return event.name == _BLOCK


def txid_in(event: Event) -> str | None:
    """Return the id of the transaction that an event of an address announces; None for other events.

    It comes as a text or, as Insight itself has it, in an object.
    """
    if event.name in _COMMON:
        return None
    return next((txid for told in event.arguments if (txid := _txid(told)) is not None), None)


def _txid(told: Any) -> str | None:
    text = told.get("txid") if isinstance(told, dict) else told
    return text.lower() if isinstance(text, str) and _TXID.fullmatch(text.lower()) else None
