"""Connect's endpoints that look up blocks and transactions by height, hash or id."""

from __future__ import annotations

import datetime
import re
from contextlib import suppress
from typing import Any, ClassVar

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.clients.bitcoin_raw import require_txid
from airflow_provider_bloq.clients.connect_blocks import Block, BlocksOfDay
from airflow_provider_bloq.clients.connect_fields import list_of, needed_text, object_of, whole_number_of
from airflow_provider_bloq.clients.connect_models import Transaction, TransactionPage
from airflow_provider_bloq.clients.connect_status import ConnectStatusApi
from airflow_provider_bloq.clients.endpoint import Endpoint
from airflow_provider_bloq.clients.limits import require_whole_number
from airflow_provider_bloq.clients.operation import operation
from airflow_provider_bloq.clients.walking import PageWalk, Part, walking
from airflow_provider_bloq.exceptions import BloqApiError, BloqConfigurationError, BloqNotFound

__all__ = ["ConnectLookupApi"]

#: How a node says that it has no block of a height yet; -8 is its code for a parameter that will not do.
_OUT_OF_RANGE = re.compile(r"height out of range|Code:\s*-8\b", re.IGNORECASE)


class ConnectLookupApi(ConnectStatusApi):
    """The part of :class:`~airflow_provider_bloq.clients.connect.ConnectApi` on blocks and transactions."""

    BLOCK: ClassVar = Endpoint("GET", "/block/{hash}", repeatable=True)
    BLOCK_INDEX: ClassVar = Endpoint("GET", "/block-index/{height}", repeatable=True)
    RAW_BLOCK: ClassVar = Endpoint("GET", "/rawblock/{hash}", repeatable=True)
    BLOCKS: ClassVar = Endpoint("GET", "/blocks", repeatable=True)
    TRANSACTION: ClassVar = Endpoint("GET", "/tx/{txid}", repeatable=True)
    RAW_TRANSACTION: ClassVar = Endpoint("GET", "/rawtx/{txid}", repeatable=True)
    TRANSACTIONS: ClassVar = Endpoint("GET", "/txs", repeatable=True)

    @operation
    def block(self, block_hash: str) -> Flow[Block]:
        """Read a block.

        :param block_hash: Its hash.
        """
        answer = yield from self.call(self.BLOCK, hash=require_txid(block_hash, "block_hash"))
        return Block.from_json(answer)

    @operation
    def block_hash(self, height: int) -> Flow[str]:
        """Read the hash of the best chain's block of a height.

        :param height: The block's number; the genesis block has 0.
        :raises BloqNotFound: There is none yet.
        """
        require_whole_number("height", height, least=0)
        try:
            answer = yield from self.call(self.BLOCK_INDEX, height=str(height))
        except BloqApiError as error:
            # An Insight of bitcoind's time passes on its node's words instead of answering 404.
            if error.status == 400 and _OUT_OF_RANGE.search(error.detail or ""):
                raise BloqNotFound(
                    str(error), status=400, detail=error.detail, method=error.method, url=error.url
                ) from None
            raise
        return _bare_or(answer, "blockHash")

    @operation
    def raw_block(self, block_hash: str) -> Flow[str]:
        """Read the bytes of a block, in hex.

        :param block_hash: Its hash.
        """
        answer = yield from self.call(self.RAW_BLOCK, hash=require_txid(block_hash, "block_hash"))
        return _bare_or(answer, "rawblock")

    @operation
    def blocks(self, date: str | datetime.date | None = None, limit: int | None = None) -> Flow[BlocksOfDay]:
        """List the blocks of a day.

        :param date: The day in UTC, also as ``YYYY-MM-DD``; by default today's.
        :param limit: How many, from the newest.
        """
        query: dict[str, Any] = {}
        if limit is not None:
            require_whole_number("limit", limit, least=1)
            query["limit"] = limit
        if date is not None:
            query["blockDate"] = _day(date)
        return BlocksOfDay.from_json((yield from self.call(self.BLOCKS, query=query)))

    @operation
    def transaction(self, txid: str) -> Flow[Transaction]:
        """Read a transaction of the best chain or of the mempool.

        :param txid: Its id.
        :raises BloqNotFound: It is in neither.
        """
        return Transaction.from_json((yield from self.call(self.TRANSACTION, txid=require_txid(txid))))

    @operation
    def raw_transaction(self, txid: str) -> Flow[str]:
        """Read the bytes of a transaction, in hex.

        :param txid: Its id.
        """
        return _bare_or((yield from self.call(self.RAW_TRANSACTION, txid=require_txid(txid))), "rawtx")

    @operation
    def transactions_of_block(self, block_hash: str, page: int = 0) -> Flow[TransactionPage]:
        """Read a page of the transactions of a block, in its order; ``total`` counts the pages.

        :param block_hash: The block's hash.
        :param page: Number of the page, from 0.
        """
        return (yield from self._page({"block": require_txid(block_hash, "block_hash")}, page))

    @walking
    def in_block(self, block_hash: str) -> PageWalk[Transaction]:
        """Iterate over the transactions of a block, in its order; a page is read at a time.

        :param block_hash: The block's hash.
        """
        query = {"block": require_txid(block_hash, "block_hash")}

        def read(number: int) -> Flow[Part[Transaction]]:
            page = yield from self._page(query, number)
            return Part(page.items, page.total)

        return PageWalk(read)

    def _page(self, query: dict[str, Any], page: int) -> Flow[TransactionPage]:
        require_whole_number("page", page, least=0)
        answer = yield from self.call(self.TRANSACTIONS, query={**query, "pageNum": page})
        fields = object_of(answer, "a page of transactions")
        total = whole_number_of(fields, "pagesTotal") or 0
        return TransactionPage(tuple(map(Transaction.from_json, list_of(fields.get("txs")))), total)


def _bare_or(answer: Any, name: str) -> str:
    """Return a text that may come in an object or, as no document rules out, as it is."""
    return answer if isinstance(answer, str) and answer else needed_text(answer, name)


def _day(date: object) -> str:
    if isinstance(date, datetime.datetime):
        date = date.astimezone(datetime.UTC).date() if date.tzinfo else date.date()
    if isinstance(date, str):
        with suppress(ValueError):
            date = datetime.date.fromisoformat(date.strip())
    if isinstance(date, datetime.date):
        return date.isoformat()
    raise BloqConfigurationError.of("date", f"{str(date)[:40]!r} is no day", "Write it as YYYY-MM-DD.")
