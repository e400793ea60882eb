"""The transactions of addresses from a block on, and their history as rows that later runs continue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_bloq.connect.addresses import same_address
from airflow_provider_bloq.connect.client import MAX_PER_REQUEST, ConnectApi, hash_at
from airflow_provider_bloq.connect.models import Transaction, TxInput, TxOutput
from airflow_provider_bloq.exceptions import BloqListShifted, BloqReorg, BloqUnavailable
from airflow_provider_bloq.flow.effects import Flow

__all__ = [
    "REREAD_BLOCKS",
    "History",
    "HistoryCursor",
    "batches",
    "indexed_height",
    "read_history",
    "transactions_since",
]


T = TypeVar("T")

#: Blocks to read again after a reorg. No reorg of Bitcoin was deeper.
REREAD_BLOCKS = 100
#: Attempts to read a list that changes while it is read.
_ATTEMPTS = 5


def indexed_height(api: ConnectApi) -> Flow[int]:
    """Read the height of the newest block that Connect has indexed; a flow."""
    height = (yield from ConnectApi.sync.flow(api)).height
    return (yield from ConnectApi.info.flow(api)).height if height is None else height


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Split addresses into batches for one request each."""
    for begin in range(0, len(items), MAX_PER_REQUEST):
        yield items[begin : begin + MAX_PER_REQUEST]


def transactions_since(api: ConnectApi, addresses: Sequence[str], height: int) -> Flow[list[Transaction]]:
    """Read the transactions of addresses from a block on, including the mempool; a flow.

    :param api: Connect.
    :param addresses: The addresses.
    :param height: Height of the first block.
    :return: For each batch of addresses the mempool, then the blocks, newest first. A few earlier transactions may
        follow. A transaction with addresses of several batches is listed once for each.
    :raises BloqListShifted: A list changed during each of several attempts.
    """
    found: list[Transaction] = []
    for batch in batches(addresses):
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                found += yield from _transactions_of_batch(api, batch, height)
                break
            except BloqListShifted:
                if attempt == _ATTEMPTS:
                    raise
    return found


def _transactions_of_batch(api: ConnectApi, addresses: Sequence[str], height: int) -> Flow[list[Transaction]]:
    pages = ConnectApi.history.paginator(api, addresses)
    found: list[Transaction] = []
    while items := (yield from pages.next_items()):
        found += items
        # Those in the mempool come first, then the newest.
        if all(one.height is not None and one.height < height for one in items):
            break
    return found


@dataclass(frozen=True, slots=True)
class HistoryCursor:
    """The last block that was read.

    :param height: Its height.
    :param block_hash: Its hash, which reveals a reorg.
    """

    height: int
    block_hash: str


@dataclass(frozen=True, slots=True)
class History:
    """What was paid to and spent from addresses in a range of blocks.

    :param rows: One for each output that pays an address and each input that spends from one; in chain order.
    :param from_height: Height of the first block of the range.
    :param cursor: The last block of the range; None if there is no such block yet.
    :param reorganised: Whether blocks that an earlier run read have been replaced. The range then begins before the
        end of that run, and everything known from ``from_height`` on has to be replaced.
    :param is_behind: Whether Connect has not indexed the cursor's block yet, so that nothing was read.
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
    """Read the blocks after the cursor; a flow.

    If Connect has not indexed the cursor's block yet, the result has no rows and the same cursor. Only a different
    hash at that height is a reorg.

    :param api: Connect.
    :param addresses: The addresses, without duplicates.
    :param from_height: Height of the first block if there is no cursor. After a reorg no earlier block is read.
    :param cursor: The last block that the previous run read.
    :param confirmations: How many a block must have to be read, at least 1, counted from the newest block that
        Connect has indexed. Its node may have newer ones.
    :raises BloqReorg: A reorg changed the range while it was read.
    :raises BloqListShifted: The list changed during each of several attempts.
    :raises BloqUnavailable: Connect does not return the last block of the range although it has indexed it.
    """
    tip = yield from indexed_height(api)
    last = tip - confirmations + 1
    # Read before the cursor is checked, so that the second check below detects a reorg in between.
    end = (yield from hash_at(api, last)) if last >= 0 else None
    reorganised = False
    if cursor is not None:
        known = (yield from hash_at(api, cursor.height)) if cursor.height <= tip else None
        if known is None:
            # Going back would delete correct rows that cannot be read again yet. An empty range with the same
            # cursor changes nothing.
            return History([], cursor.height + 1, cursor, reorganised=False, is_behind=True)
        reorganised = known != cursor.block_hash
    first = _first(from_height, cursor, reorganised)
    if last < first:
        return History([], first, None if reorganised else cursor, reorganised)
    if end is None:
        raise BloqUnavailable(
            f"Connect does not return block {last} although it says that it has indexed it."
        )
    found = yield from transactions_since(api, addresses, first)
    if (yield from hash_at(api, last)) != end:
        raise BloqReorg(first, last)
    # A transaction with addresses of several batches was found several times.
    transactions = {
        one.txid: one for one in reversed(found) if one.height is not None and first <= one.height <= last
    }
    # Blocks may have been added meanwhile: count the confirmations of all rows from the same block.
    rows = [
        {**row, "confirmations": tip - row["height"] + 1}
        for transaction in transactions.values()
        for row in _rows_of(transaction, addresses)
    ]
    rows.sort(key=lambda row: row["height"])
    return History(rows, first, HistoryCursor(last, end), reorganised)


def _first(from_height: int, cursor: HistoryCursor | None, reorganised: bool) -> int:
    if cursor is None:
        return from_height
    following = cursor.height + 1
    return min(following, max(from_height, following - REREAD_BLOCKS)) if reorganised else following


def _rows_of(transaction: Transaction, addresses: Sequence[str]) -> Iterator[dict[str, Any]]:
    sides: list[tuple[str, TxInput | TxOutput, tuple[str | None, ...]]] = [
        *(("out", one, (one.address,)) for one in transaction.inputs),
        *(("in", one, one.addresses) for one in transaction.outputs),
    ]
    for direction, side, named in sides:
        for address in addresses:
            if any(same_address(one, address) for one in named):
                yield {
                    "txid": transaction.txid,
                    "height": transaction.height,
                    "block_hash": transaction.block_hash,
                    "time": transaction.time,
                    "address": address,
                    "direction": direction,
                    "index": side.index,
                    "amount_sat": side.amount_sat,
                }
