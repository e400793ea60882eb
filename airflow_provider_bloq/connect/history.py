"""What went in and out of addresses, block by block, so that it can be carried on where it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.connect.addresses import same_address
from airflow_provider_bloq.connect.client import ConnectApi
from airflow_provider_bloq.connect.models import Transaction
from airflow_provider_bloq.connect.payments import read_height, transactions_since
from airflow_provider_bloq.exceptions import BloqNotFound, BloqReorg, BloqUnavailable
from airflow_provider_bloq.flow.effects import Flow

__all__ = [
    "REREAD_BLOCKS",
    "History",
    "HistoryCursor",
    "read_history",
    "rows_of",
]


#: Blocks that are read again where the last one read is no longer of the chain. No reorg of Bitcoin was deeper.
REREAD_BLOCKS = 100


@dataclass(frozen=True, slots=True)
class HistoryCursor:
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
    :param is_behind: Whether Connect has not taken in yet what was read before, so that nothing was read.
    """

    rows: list[dict[str, Any]]
    from_height: int
    cursor: HistoryCursor | None
    reorganised: bool
    is_behind: bool = False


def read_history(
    api: ConnectApi,
    addresses: Sequence[str],
    *,
    from_height: int,
    cursor: HistoryCursor | None,
    confirmations: int,
) -> Flow[History]:
    """Read what is new; a flow.

    Where Connect has not taken in the cursor's block yet, as when its index is behind, there is nothing new: no row,
    and the cursor that was given. Only another hash at that height is a reorg.

    :param api: Connect.
    :param addresses: The addresses, each once; fifty are asked about at once.
    :param from_height: Number of the first block, where there is no cursor. After a reorg none before it is read.
    :param cursor: Where the last reading ended.
    :param confirmations: How many a block must have to be read, at least 1. They are counted from the newest that
        Connect has taken in, which may not be the newest of its node.
    :raises BloqReorg: The chain was reorganised meanwhile, as deep as that.
    :raises BloqListShifted: The list changed again and again while it was read.
    :raises BloqUnavailable: Connect does not know the last block of the span, though it says that it has taken it in.
    """
    tip = yield from read_height(api)
    last = tip - confirmations + 1
    # Before the cursor is looked at: a reorg in between is found out at the end.
    end = (yield from _hash_at(api, last)) if last >= 0 else None
    reorganised = False
    if cursor is not None:
        known = (yield from _hash_at(api, cursor.height)) if cursor.height <= tip else None
        if known is None:
            # To go back here would delete what is right and cannot be read again yet. An empty span before the same
            # cursor changes nothing, whoever keeps the rows, and the next run begins where this one would have.
            return History([], cursor.height + 1, cursor, reorganised=False, is_behind=True)
        reorganised = known != cursor.block_hash
    first = _first(from_height, cursor, reorganised)
    if last < first:
        return History([], first, None if reorganised else cursor, reorganised)
    if end is None:
        raise BloqUnavailable(f"Connect does not know block {last}, though it says that it has taken it in.")
    found = yield from transactions_since(api, addresses, first)
    if (yield from _hash_at(api, last)) != end:
        raise BloqReorg(first, last)
    # One that touches addresses of several parts was found in each of them.
    transactions = {
        one.txid: one for one in reversed(found) if one.height is not None and first <= one.height <= last
    }
    rows = [row for transaction in transactions.values() for row in rows_of(transaction, addresses)]
    rows.sort(key=lambda row: row["height"])
    # Blocks may have come meanwhile: all rows count their confirmations from the same one.
    return History(
        [{**row, "confirmations": tip - row["height"] + 1} for row in rows],
        first,
        HistoryCursor(last, end),
        reorganised,
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


def _first(from_height: int, cursor: HistoryCursor | None, reorganised: bool) -> int:
    if cursor is None:
        return from_height
    following = cursor.height + 1
    return min(following, max(from_height, following - REREAD_BLOCKS)) if reorganised else following


def _hash_at(api: ConnectApi, height: int) -> Flow[str | None]:
    try:
        return (yield from ConnectApi.block_hash.flow(api, height))
    except BloqNotFound:
        return None
