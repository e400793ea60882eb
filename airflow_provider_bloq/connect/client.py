"""The client of Connect's REST API, and sending a signed transaction at most once."""

from __future__ import annotations

import datetime
import inspect
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_provider_bloq.arguments import CONNECT, number_of, require_choice, require_whole_number
from airflow_provider_bloq.connect.addresses import NETWORKS, require_address
from airflow_provider_bloq.connect.models import (
    Address,
    BlocksOfDay,
    ChainInfo,
    ConnectBlock,
    LastBlock,
    Peer,
    SyncStatus,
    Transaction,
    TransactionPage,
    Unspent,
    list_of,
    object_of,
    required_number,
    required_text,
    satoshi_of,
    whole_number_of,
)
from airflow_provider_bloq.connect.paging import NumberedPages, OffsetPages, paginated
from airflow_provider_bloq.connect.raw_transactions import RawTransaction, require_txid
from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqConfigurationError,
    BloqNotFound,
    BloqRateLimited,
    BloqTransactionRefused,
    BloqUnavailable,
)
from airflow_provider_bloq.flow.effects import Flow, Request, RunsAsync, RunsBlocking, operation
from airflow_provider_bloq.flow.service import Endpoint, Service

__all__ = [
    "MAX_PER_REQUEST",
    "OPERATIONS",
    "REST_CHAINS",
    "RPC_CHAINS",
    "AsyncConnectClient",
    "ConnectApi",
    "ConnectClient",
    "SendResult",
    "check_operation",
    "hash_at",
    "parse_numbers",
    "require_network",
    "require_rest_chain",
    "send_once",
]


#: Chains with the REST API and the access token.
REST_CHAINS = ("btc", "bch")
#: Chains with JSON-RPC and a path key whose hosts are known.
RPC_CHAINS = ("eth", "etc", "kotti", "ropsten")
#: Addresses that one request takes, and transactions that it returns.
MAX_PER_REQUEST = 50
#: How a node says that its chain has not reached a height; -8 is its code for an invalid parameter.
_OUT_OF_RANGE = re.compile(r"height out of range|Code:\s*-8\b", re.IGNORECASE)


def require_rest_chain(chain: object) -> str:
    """Return the name of a chain in lower case.

    :raises BloqConfigurationError: Connect has no REST API for it.
    """
    name = chain.strip().lower() if isinstance(chain, str) else chain
    if name in RPC_CHAINS:
        raise BloqConfigurationError.of(
            "chain",
            f"Connect has only JSON-RPC for {name!r}",
            f"Use connect_rpc({name!r}), or node='{CONNECT}{name}' in place of a node's id",
        )
    require_choice("chain", name, REST_CHAINS)
    return str(name)


def require_network(network: object) -> str:
    """Return the name of a network in lower case.

    :raises BloqConfigurationError: It is unknown.
    """
    name = network.strip().lower() if isinstance(network, str) else network
    require_choice("network", name, NETWORKS)
    return str(name)


class ConnectApi(Service):
    """The REST API of one chain. Invalid addresses, ids and hashes are refused before anything is sent.

    Connect is no longer in Bloq's documentation. These are the endpoints of Bloq's JavaScript SDK, which are those
    of Insight (https://github.com/bitpay/insight-api). Every operation raises
    :class:`~airflow_provider_bloq.exceptions.BloqApiError` if Connect returns an error or does not answer, and
    :class:`~airflow_provider_bloq.exceptions.BloqAuthError` if no usable token is available.

    :param chain: ``btc`` or ``bch``.
    :param network: ``mainnet``, ``testnet`` or ``regtest``: whose addresses are accepted.
    :param host: Host header, if the URL does not name the chain.
    """

    EXACT = True
    #: Insight returns errors as texts: ``message. Code:-25``.
    PLAIN_ERRORS = True

    STATUS: ClassVar = Endpoint("GET", "/status", idempotent=True)
    SYNC: ClassVar = Endpoint("GET", "/sync", idempotent=True)
    PEER: ClassVar = Endpoint("GET", "/peer", idempotent=True)
    ESTIMATE_FEE: ClassVar = Endpoint("GET", "/utils/estimatefee", idempotent=True)
    BLOCK: ClassVar = Endpoint("GET", "/block/{hash}", idempotent=True)
    BLOCK_INDEX: ClassVar = Endpoint("GET", "/block-index/{height}", idempotent=True)
    RAW_BLOCK: ClassVar = Endpoint("GET", "/rawblock/{hash}", idempotent=True)
    BLOCKS: ClassVar = Endpoint("GET", "/blocks", idempotent=True)
    TRANSACTION: ClassVar = Endpoint("GET", "/tx/{txid}", idempotent=True)
    RAW_TRANSACTION: ClassVar = Endpoint("GET", "/rawtx/{txid}", idempotent=True)
    TRANSACTIONS: ClassVar = Endpoint("GET", "/txs", idempotent=True)
    ADDRESS: ClassVar = Endpoint("GET", "/addr/{addr}", idempotent=True)
    SUM: ClassVar = Endpoint("GET", "/addr/{addr}/{what}", idempotent=True)
    UNSPENT: ClassVar = Endpoint("GET", "/addrs/{addrs}/utxo", idempotent=True)
    ADDRESS_TRANSACTIONS: ClassVar = Endpoint("POST", "/addrs/txs", idempotent=True)
    SEND: ClassVar = Endpoint("POST", "/tx/send", idempotent=False)

    def __init__(
        self, *, chain: str, network: str = "mainnet", host: str | None = None, **service: Any
    ) -> None:
        super().__init__(**service)
        self.chain = require_rest_chain(chain)
        self.network = require_network(network)
        self._host = host

    def request(self, endpoint: Endpoint, parts: Mapping[str, str], query: Any, body: Any) -> Request:
        request = super().request(endpoint, parts, query, body)
        return request if self._host is None else request.with_header("Host", self._host)

    @operation
    def info(self) -> Flow[ChainInfo]:
        """Read the state of the node behind Connect, such as its height."""
        return ChainInfo.from_json((yield from self._status("getInfo")))

    @operation
    def difficulty(self) -> Flow[float]:
        """Read the difficulty of the chain."""
        value = object_of((yield from self._status("getDifficulty")), "a status").get("difficulty")
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise BloqUnavailable("Connect's answer lacks difficulty.") from None

    @operation
    def best_block_hash(self) -> Flow[str]:
        """Read the hash of the newest block."""
        return required_text((yield from self._status("getBestBlockHash")), "bestblockhash")

    @operation
    def last_block(self) -> Flow[LastBlock]:
        """Read the hashes of the newest block that Connect has indexed and of its node's newest block."""
        return LastBlock.from_json((yield from self._status("getLastBlockHash")))

    @operation
    def sync(self) -> Flow[SyncStatus]:
        """Read how much of the chain Connect has indexed."""
        return SyncStatus.from_json((yield from self.call(self.SYNC)))

    @operation
    def peer(self) -> Flow[Peer]:
        """Read whether Connect is connected to its node."""
        return Peer.from_json((yield from self.call(self.PEER)))

    @operation
    def estimate_fee(self, blocks: int = 2) -> Flow[int | None]:
        """Estimate the fee for a transaction to be included within a number of blocks.

        :param blocks: The number of blocks.
        :return: Satoshi per 1000 bytes; None if the node has no estimate.
        """
        require_whole_number("blocks", blocks, least=1)
        answer = yield from self.call(self.ESTIMATE_FEE, query={"nbBlocks": blocks})
        rate = object_of(answer, "an estimate").get(str(blocks))
        if rate is None or whole_number_of({"rate": rate}, "rate") == -1:
            return None
        return satoshi_of(rate)

    @operation
    def block(self, block_hash: str) -> Flow[ConnectBlock]:
        """Read a block by its hash."""
        answer = yield from self.call(self.BLOCK, hash=require_txid(block_hash, "block_hash"))
        return ConnectBlock.from_json(answer)

    @operation
    def block_hash(self, height: int) -> Flow[str]:
        """Read the hash of the block at a height in the best chain.

        :param height: The height; that of the genesis block is 0.
        :raises BloqNotFound: There is no such block yet.
        """
        require_whole_number("height", height, least=0)
        try:
            answer = yield from self.call(self.BLOCK_INDEX, height=str(height))
        except BloqApiError as error:
            # Insight with bitcoind passes on the node's error text instead of answering 404.
            if error.status == 400 and _OUT_OF_RANGE.search(error.detail or ""):
                raise BloqNotFound(
                    str(error), status=400, detail=error.detail, method=error.method, url=error.url
                ) from None
            raise
        return _text_or_field(answer, "blockHash")

    @operation
    def raw_block(self, block_hash: str) -> Flow[str]:
        """Read a block in hex by its hash."""
        answer = yield from self.call(self.RAW_BLOCK, hash=require_txid(block_hash, "block_hash"))
        return _text_or_field(answer, "rawblock")

    @operation
    def blocks(self, date: str | datetime.date | None = None, limit: int | None = None) -> Flow[BlocksOfDay]:
        """List the blocks of a day.

        :param date: The day in UTC, a date or ``YYYY-MM-DD``; by default today.
        :param limit: Maximum number of blocks, counted from the newest.
        """
        query: dict[str, Any] = {}
        if limit is not None:
            require_whole_number("limit", limit, least=1)
            query["limit"] = limit
        if date is not None:
            query["blockDate"] = _iso_date(date)
        return BlocksOfDay.from_json((yield from self.call(self.BLOCKS, query=query)))

    @operation
    def transaction(self, txid: str) -> Flow[Transaction]:
        """Read a transaction by its id.

        :raises BloqNotFound: It is neither in the best chain nor in the mempool.
        """
        return Transaction.from_json((yield from self.call(self.TRANSACTION, txid=require_txid(txid))))

    @operation
    def raw_transaction(self, txid: str) -> Flow[str]:
        """Read a transaction in hex by its id."""
        return _text_or_field((yield from self.call(self.RAW_TRANSACTION, txid=require_txid(txid))), "rawtx")

    @operation
    def transactions_of_block(self, block_hash: str, page: int = 0) -> Flow[TransactionPage]:
        """Read a page of the transactions of a block, in block order; ``total`` is the number of pages.

        :param block_hash: Hash of the block.
        :param page: Number of the page, from 0.
        """
        return (yield from self._page({"block": require_txid(block_hash, "block_hash")}, page))

    @paginated
    def in_block(self, block_hash: str) -> NumberedPages[Transaction]:
        """Iterate over the transactions of a block, in block order, reading one page at a time.

        :param block_hash: Hash of the block.
        """
        query = {"block": require_txid(block_hash, "block_hash")}
        return NumberedPages(lambda page: self._page(query, page))

    @operation
    def transactions_of_address(self, address: str, page: int = 0) -> Flow[TransactionPage]:
        """Read a page of the transactions of an address, newest first; ``total`` is the number of pages.

        :param address: The address.
        :param page: Number of the page, from 0.
        """
        return (yield from self._page({"address": self._address(address)}, page))

    @operation
    def address(
        self, address: str, first: int | None = None, end: int | None = None, *, txids: bool = True
    ) -> Flow[Address]:
        """Read the sums of an address, and the ids of its transactions, newest first.

        :param address: The address.
        :param first: Index of the first transaction to list, from 0.
        :param end: Index after the last transaction to list.
        :param txids: Whether to list transactions.
        """
        query: dict[str, Any] = {} if txids else {"noTxList": 1}
        for name, parameter, index in (("first", "from", first), ("end", "to", end)):
            if index is not None:
                require_whole_number(name, index, least=0)
                query[parameter] = index
        answer = yield from self.call(self.ADDRESS, query=query, addr=self._address(address))
        return Address.from_json(answer)

    @operation
    def balance(self, address: str) -> Flow[int]:
        """Read the confirmed balance of an address in satoshi."""
        return (yield from self._sum(address, "balance"))

    @operation
    def total_received(self, address: str) -> Flow[int]:
        """Read the confirmed total that was paid to an address, in satoshi."""
        return (yield from self._sum(address, "totalReceived"))

    @operation
    def total_sent(self, address: str) -> Flow[int]:
        """Read the confirmed total that was spent from an address, in satoshi."""
        return (yield from self._sum(address, "totalSent"))

    @operation
    def unconfirmed_balance(self, address: str) -> Flow[int]:
        """Read by how much the mempool would change the balance of an address, in satoshi."""
        return (yield from self._sum(address, "unconfirmedBalance"))

    @operation
    def unspent(self, addresses: str | Iterable[str]) -> Flow[list[Unspent]]:
        """List the unspent outputs of addresses, including those in the mempool.

        :param addresses: The addresses, at most :data:`MAX_PER_REQUEST`.
        """
        answer = yield from self.call(self.UNSPENT, addrs=",".join(self._addresses(addresses)))
        return [Unspent.from_json(item) for item in list_of(answer)]

    @operation
    def address_transactions(
        self,
        addresses: str | Iterable[str],
        first: int = 0,
        end: int | None = None,
        *,
        scripts: bool = True,
        spent: bool = True,
    ) -> Flow[TransactionPage]:
        """Read some of the transactions of addresses, newest first; see also :meth:`history`.

        :param addresses: The addresses, at most :data:`MAX_PER_REQUEST`.
        :param first: Index of the first transaction, from 0.
        :param end: Index after the last transaction, at most :data:`MAX_PER_REQUEST` after ``first``; by default
            Connect's own limit.
        :param scripts: Whether to include the scripts of inputs.
        :param spent: Whether to include the transactions that spent the outputs.
        """
        return (yield from self._transactions_of(self._addresses(addresses), first, end, scripts, spent))

    @paginated
    def history(
        self, addresses: str | Iterable[str], first: int = 0, *, size: int = MAX_PER_REQUEST
    ) -> OffsetPages[Transaction]:
        """Iterate over the transactions of addresses, newest first, reading one page at a time.

        Transactions that arrive after the first page was read are not included.

        :param addresses: The addresses, at most :data:`MAX_PER_REQUEST`.
        :param first: Index of the first transaction, from 0; to resume an interrupted iteration.
        :param size: Transactions to read at once, from 2 to :data:`MAX_PER_REQUEST`.
        :raises BloqListShifted: Transactions that were already returned have changed, by a reorg or because one was
            mined before others. Start over.
        """
        require_whole_number("first", first, least=0)
        require_whole_number("size", size, least=2, most=MAX_PER_REQUEST)
        wanted = self._addresses(addresses)
        return OffsetPages(
            lambda begin, end: self._transactions_of(wanted, begin, end, scripts=False),
            lambda transaction: transaction.txid,
            first,
            size,
            # A reorg can remove transactions at the front and put as many later ones there.
            lambda transaction: transaction.block_hash,
        )

    @operation
    def send(self, raw_transaction: str) -> Flow[str]:
        """Send a signed transaction; :func:`send_once` is safe to retry.

        :param raw_transaction: The transaction in hex.
        :return: Its id, as Connect returned it.
        """
        raw = RawTransaction.read(raw_transaction)
        return _text_or_field((yield from self.call(self.SEND, body={"rawtx": raw.raw})), "txid")

    def _status(self, query: str) -> Flow[Any]:
        return (yield from self.call(self.STATUS, query={"q": query}))

    def _address(self, address: str) -> str:
        return require_address(self.chain, address, self.network)

    def _addresses(self, addresses: str | Iterable[str]) -> list[str]:
        given = addresses.split(",") if isinstance(addresses, str) else list(addresses)
        wanted = list(
            dict.fromkeys(require_address(self.chain, one, self.network, "addresses") for one in given)
        )
        require_whole_number("number of addresses", len(wanted), least=1, most=MAX_PER_REQUEST)
        return wanted

    def _sum(self, address: str, what: str) -> Flow[int]:
        answer = yield from self.call(self.SUM, addr=self._address(address), what=what)
        return required_number({what: answer}, what)

    def _page(self, query: dict[str, Any], page: int) -> Flow[TransactionPage]:
        require_whole_number("page", page, least=0)
        answer = yield from self.call(self.TRANSACTIONS, query={**query, "pageNum": page})
        fields = object_of(answer, "a page of transactions")
        total = whole_number_of(fields, "pagesTotal") or 0
        return TransactionPage(tuple(map(Transaction.from_json, list_of(fields.get("txs")))), total)

    def _transactions_of(
        self, addresses: list[str], first: int, end: int | None, scripts: bool, spent: bool = True
    ) -> Flow[TransactionPage]:
        require_whole_number("first", first, least=0)
        body: dict[str, Any] = {"addrs": addresses, "from": first}
        if end is not None:
            require_whole_number("end", end, least=first, most=first + MAX_PER_REQUEST)
            body["to"] = end
        if not scripts:
            body |= {"noAsm": True, "noScriptSig": True}
        if not spent:
            body["noSpent"] = True
        answer = yield from self.call(self.ADDRESS_TRANSACTIONS, body=body)
        fields = object_of(answer, "a list of transactions")
        total = required_number(fields, "totalItems")
        return TransactionPage(tuple(map(Transaction.from_json, list_of(fields.get("items")))), total)


def _text_or_field(answer: Any, name: str) -> str:
    """Return an answer that is a text or, as no documentation excludes, an object with one."""
    return answer if isinstance(answer, str) and answer else required_text(answer, name)


def _iso_date(date: object) -> str:
    if isinstance(date, datetime.datetime):
        date = date.astimezone(datetime.UTC).date() if date.tzinfo else date.date()
    if isinstance(date, str):
        with suppress(ValueError):
            date = datetime.date.fromisoformat(date.strip())
    if isinstance(date, datetime.date):
        return date.isoformat()
    raise BloqConfigurationError.of("date", f"{str(date)[:40]!r} is not a date", "Write it as YYYY-MM-DD.")


class ConnectClient(RunsBlocking, ConnectApi):
    """:class:`ConnectApi` with operations that block."""


class AsyncConnectClient(RunsAsync, ConnectApi):
    """:class:`ConnectApi` with operations that are awaited."""


def hash_at(api: ConnectApi, height: int) -> Flow[str | None]:
    """Read the hash of the block at a height; a flow. None if there is no such block yet."""
    try:
        return (yield from ConnectApi.block_hash.flow(api, height))
    except BloqNotFound:
        return None


#: The signatures of the operations that only read.
OPERATIONS: Mapping[str, inspect.Signature] = {
    name: inspect.signature(member.flow)
    for name, member in vars(ConnectApi).items()
    if isinstance(member, operation) and name != "send"
}

#: The annotations of numeric parameters.
_NUMBERS = ("int", "int | None")


def check_operation(name: object, parameters: Mapping[str, Any], where: str) -> None:
    """Check the name and the parameters of an operation.

    :param name: Name of the operation.
    :param parameters: Its parameters by name.
    :param where: The task.
    :raises BloqConfigurationError: There is no such operation, or it does not take these parameters.
    """
    signature = OPERATIONS.get(name) if isinstance(name, str) else None
    if signature is None:
        raise BloqConfigurationError.of(
            "endpoint",
            f"{str(name)[:80]!r} is unknown",
            f"Use one of {', '.join(sorted(OPERATIONS))}.",
            where,
        )
    if not isinstance(parameters, Mapping):
        raise BloqConfigurationError.of("parameters", "they are not a dict", "Pass them by name.", where)
    known = {own: one for own, one in signature.parameters.items() if own != "self"}
    problems = [f"{given} is unknown" for given in sorted(map(str, parameters)) if given not in known] + [
        f"{own} is missing"
        for own, one in known.items()
        if one.default is inspect.Parameter.empty and own not in parameters
    ]
    if problems:
        takes = f"{name} takes {', '.join(known) or 'none'}."
        raise BloqConfigurationError.of("parameters", "; ".join(problems), takes, where)


def parse_numbers(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with numeric ones converted from the text that a template rendered.

    :param name: Name of the operation.
    :param parameters: Its parameters by name, already checked by :func:`check_operation`.
    """
    known = OPERATIONS[name].parameters
    return {
        own: number_of(given) if known[own].annotation in _NUMBERS else given
        for own, given in parameters.items()
    }


#: What nodes answer if they have the transaction, in the mempool or in a block with its outputs unspent.
_ALREADY_KNOWN = re.compile(
    r"already[ -](?:in[ -])?(?:the[ -])?(?:mempool|known|block ?chain|utxo)|code:? ?-27\b", re.IGNORECASE
)
#: Temporary refusals: an input has not arrived yet, or fees are high at present.
_TEMPORARY = re.compile(
    r"missing ?inputs|missingorspent|non-(?:BIP68-)?final|mempool (?:full|min fee)|too-long-mempool|code:? ?-25\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class SendResult:
    """The result of sending a transaction.

    :param txid: Its id.
    :param sent: Whether this call sent it; False if it was already known.
    """

    txid: str
    sent: bool


def send_once(api: ConnectApi, transaction: RawTransaction) -> Flow[SendResult]:
    """Send a transaction unless Connect already has it; a flow that is safe to retry.

    It first looks for the transaction by the id computed from its bytes, and again if the answer to the sending is
    lost or an error.

    :param api: Connect.
    :param transaction: The transaction.
    :raises BloqTransactionRefused: The node refuses it. ``retryable`` tells whether that may be temporary.
    :raises BloqUnavailable: It is not known whether the transaction arrived. Retry.
    """
    txid = transaction.txid
    if (yield from _is_known(api, txid)):
        return SendResult(txid, sent=False)
    try:
        answered = yield from ConnectApi.send.flow(api, transaction.raw)
    except BloqRateLimited:
        raise
    except BloqUnavailable:
        if (yield from _is_known(api, txid)):
            return SendResult(txid, sent=True)
        raise
    except BloqApiError as error:
        reason = f"{error.code or ''} {error.detail or ''} {error.title or ''}"
        if _ALREADY_KNOWN.search(reason) or (yield from _is_known(api, txid)):
            return SendResult(txid, sent=False)
        refusal = BloqTransactionRefused(f"The node refused {txid}: {error}", tx_hash=txid)
        refusal.retryable = _TEMPORARY.search(reason) is not None
        raise refusal from None
    if answered.lower() != txid and not (yield from _is_known(api, txid)):
        raise BloqUnavailable(
            f"Connect was given the transaction {txid} but answered with the id {answered[:64]}."
        )
    return SendResult(txid, sent=True)


def _is_known(api: ConnectApi, txid: str) -> Flow[bool]:
    try:
        yield from ConnectApi.transaction.flow(api, txid)
    except BloqNotFound:
        return False
    return True
