"""What the stream says of a transaction or a block, and in which rooms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from airflow_provider_bloq.testing.local.connect.index import Block
from airflow_provider_bloq.testing.local.connect.packets import event_packet
from airflow_provider_bloq.testing.local.connect.session import INV
from airflow_provider_bloq.testing.local.connect.transactions import Transaction
from airflow_provider_bloq.testing.local.connect.views import coins
from airflow_provider_bloq.testing.local.options import LocalBloqOptions

__all__ = ["events_of", "rooms_of"]

_ADDRESSES = "bitcoind/addresstxid"


def rooms_of(arguments: Iterable[Any]) -> list[str]:
    """Return the rooms that ``subscribe`` and its arguments name.

    ``inv``, ``bitcoind/addresstxid`` with a list of addresses or one, or an address as the name of a room.
    """
    name, *rest = [*arguments, None]
    addresses = rest[0]
    if not isinstance(name, str):
        return []
    if name != _ADDRESSES:
        return [name]
    named = [addresses] if isinstance(addresses, str) else addresses
    return [one for one in named if isinstance(one, str)] if isinstance(named, list) else []


def events_of(
    subject: Transaction | Block, rooms: frozenset[str] | set[str], options: LocalBloqOptions
) -> Iterator[str]:
    """Write the events by which a connection in these rooms learns of a transaction or a block."""
    if isinstance(subject, Block):
        if INV in rooms:
            yield event_packet("block", subject.hash)
        return
    if INV in rooms:
        yield event_packet("tx", _invitation(subject))
    for address in sorted(subject.addresses & rooms):
        if options.connect_address_event == "txid":
            yield event_packet(address, subject.txid)
        else:
            yield event_packet(address, {"address": address, "txid": subject.txid})


def _invitation(transaction: Transaction) -> dict[str, Any]:
    return {
        "txid": transaction.txid,
        "valueOut": coins(transaction.value_out()),
        "vout": [{output.address: output.satoshi} for output in transaction.outputs if output.address],
        "isRBF": transaction.replaceable,
    }
