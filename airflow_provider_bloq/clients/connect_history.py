"""What went in and out of addresses, block by block, so that it can be carried on where it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.clients.bitcoin_addresses import same_address
from airflow_provider_bloq.clients.connect import ConnectApi
from airflow_provider_bloq.clients.connect_models import Transaction
from airflow_provider_bloq.clients.connect_recent import transactions_since
from airflow_provider_bloq.exceptions import BloqNotFound, BloqReorg

__all__ = ["REREAD_BLOCKS", "Cursor", "History", "read_history", "rows_of"]

#: Blocks that are read again where the last one read is no longer of the chain. No reorg of Bitcoin was deeper.
REREAD_BLOCKS = 100


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last block that was read.

    :param height: Its number.
    :param block_hash: Its hash, by which a reorg is found out.
    """

    height: int
    block_hash: str


@dataclass(frozen=True, slots=True)
class History:
    """What went in and out in a span of blocks.

    :param rows: One for each output that pays one of the addresses and each that is spent from one; in the order
        of the chain.
    :param from_height: Number of the first block of the span.
    :param cursor: The last block of the span; None where there is none yet.
    :param reorganised: Whether blocks that were read before have been replaced, so that the span begins before
        the end of the last one: what is known from ``from_height`` on is to be replaced.
    """

    rows: list[dict[str, Any]]
    from_height: int
    cursor: Cursor | None
    reorganised: bool


def read_history(
    api: ConnectApi, addresses: Sequence[str], *, from_height: int, cursor: Cursor | None, confirmations: int
) -> Flow[History]:
    """Read what is new; a flow.

    :param api: Connect.
    :param addresses: The addresses, at most 50.
    :param from_height: Number of the first block, where there is no cursor.
    :param cursor: Where the last reading ended.
    :param confirmations: How many a block must have to be read, at least 1.
    :raises BloqReorg: The chain was reorganised meanwhile, as deep as that.
    :raises BloqListShifted: The list changed again and again while it was read.
    """
    tip = (yield from ConnectApi.info.flow(api)).height
    last = tip - confirmations + 1
    reorganised = cursor is not None and (yield from _is_gone(api, cursor))
    if cursor is not None:
        from_height = max(0, cursor.height - REREAD_BLOCKS + 1) if reorganised else cursor.height + 1
    if last < from_height:
        return History([], from_height, None if reorganised else cursor, reorganised)
    end = Cursor(last, (yield from ConnectApi.block_hash.flow(api, last)))
    transactions = [
        one
        for one in (yield from transactions_since(api, addresses, from_height))
        if one.height is not None and from_height <= one.height <= last
    ]
    if (yield from _is_gone(api, end)):
        raise BloqReorg(from_height, last)
    rows = [row for transaction in reversed(transactions) for row in rows_of(transaction, addresses)]
    # Blocks may have come meanwhile: all rows count their confirmations from the same one.
    rows.sort(key=lambda row: row["height"])
    return History(
        [{**row, "confirmations": tip - row["height"] + 1} for row in rows], from_height, end, reorganised
    )


def rows_of(transaction: Transaction, addresses: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Tell what a transaction that is in a block pays to addresses, and spends from them."""
    common = {
        "txid": transaction.txid,
        "height": transaction.height,
        "block_hash": transaction.block_hash,
        "time": transaction.time,
    }
    for spent in transaction.inputs:
        for address in addresses:
            if same_address(spent.address, address):
                yield {
                    **common,
                    "address": address,
                    "direction": "out",
                    "index": spent.index,
                    "amount_sat": spent.amount_sat,
                }
    for output in transaction.outputs:
        for address in addresses:
            if any(same_address(named, address) for named in output.addresses):
                yield {
                    **common,
                    "address": address,
                    "direction": "in",
                    "index": output.index,
                    "amount_sat": output.amount_sat,
                }


def _is_gone(api: ConnectApi, cursor: Cursor) -> Flow[bool]:
    try:
        return (yield from ConnectApi.block_hash.flow(api, cursor.height)) != cursor.block_hash
    except BloqNotFound:
        return True
