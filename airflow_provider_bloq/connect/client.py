"""The chains of Connect, and the kinds of interface that it has for them."""

from __future__ import annotations

import datetime
import inspect
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

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
    needed_text,
    object_of,
    satoshi_of,
    whole_number_of,
)
from airflow_provider_bloq.connect.paging import PageWalk, Part, Walk, walking
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
from airflow_provider_bloq.validation import CONNECT, number_of, require_choice, require_whole_number

__all__ = [
    "LARGEST_PART",
    "OPERATIONS",
    "REST_CHAINS",
    "RPC_CHAINS",
    "AsyncConnectClient",
    "ConnectApi",
    "ConnectClient",
    "ConnectLookupApi",
    "ConnectStatusApi",
    "SendResult",
    "check_operation",
    "parse_numbers",
    "require_network",
    "require_rest_chain",
    "send_once",
]


#: Chains with the REST API and the access token.
REST_CHAINS = ("btc", "bch")
#: Chains with JSON-RPC and a path key, as far as their hosts are known.
RPC_CHAINS = ("eth", "etc", "kotti", "ropsten")


def require_rest_chain(chain: object) -> str:
    """Return the name of a chain that has the REST API, in lower case.

    :raises BloqConfigurationError: It has not; names those that have.
    """
    name = chain.strip().lower() if isinstance(chain, str) else chain
    if name in RPC_CHAINS:
        raise BloqConfigurationError.of(
            "chain",
            f"Connect has JSON-RPC only for {name!r}",
            f"Use connect_rpc({name!r}), or node='{CONNECT}{name}' where a node is asked for",
        )
    require_choice("chain", name, REST_CHAINS)
    return str(name)


def require_network(network: object) -> str:
    """Return the name of a network, in lower case.

    :raises BloqConfigurationError: There is none of this name; names those that there are.
    """
    name = network.strip().lower() if isinstance(network, str) else network
    require_choice("network", name, NETWORKS)
    return str(name)


class ConnectStatusApi(Service):
    """The part of :class:`~airflow_provider_bloq.connect.client.ConnectApi` that asks about nothing in particular."""

    EXACT = True
    #: As Insight tells them: ``message. Code:-25``.
    PLAIN_ERRORS = True

    STATUS: ClassVar = Endpoint("GET", "/status", idempotent=True)
    SYNC: ClassVar = Endpoint("GET", "/sync", idempotent=True)
    PEER: ClassVar = Endpoint("GET", "/peer", idempotent=True)
    ESTIMATE_FEE: ClassVar = Endpoint("GET", "/utils/estimatefee", idempotent=True)

    @operation
    def info(self) -> Flow[ChainInfo]:
        """Read what the node behind Connect tells of itself, such as its height."""
        return ChainInfo.from_json((yield from self._status("getInfo")))

    @operation
    def difficulty(self) -> Flow[float]:
        """Read the difficulty of the chain."""
        value = object_of((yield from self._status("getDifficulty")), "a status").get("difficulty")
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise BloqUnavailable("Connect gave a status without the difficulty.") from None

    @operation
    def best_block_hash(self) -> Flow[str]:
        """Read the hash of the newest block."""
        return needed_text((yield from self._status("getBestBlockHash")), "bestblockhash")

    @operation
    def last_block(self) -> Flow[LastBlock]:
        """Read the hash of the newest block, that Connect has and that its node has."""
        return LastBlock.from_json((yield from self._status("getLastBlockHash")))

    @operation
    def sync(self) -> Flow[SyncStatus]:
        """Read how far Connect has taken in its chain."""
        return SyncStatus.from_json((yield from self.call(self.SYNC)))

    @operation
    def peer(self) -> Flow[Peer]:
        """Read whether Connect is connected to its node."""
        return Peer.from_json((yield from self.call(self.PEER)))

    @operation
    def estimate_fee(self, blocks: int = 2) -> Flow[int | None]:
        """Read the fee by which a transaction is expected to be in a block in time.

        :param blocks: Blocks to wait at most.
        :return: Satoshi per 1000 bytes; None where there is no estimate.
        """
        require_whole_number("blocks", blocks, least=1)
        answer = yield from self.call(self.ESTIMATE_FEE, query={"nbBlocks": blocks})
        rate = object_of(answer, "an estimate").get(str(blocks))
        if rate is None or whole_number_of({"rate": rate}, "rate") == -1:
            return None
        return satoshi_of(rate)

    def _status(self, question: str) -> Flow[Any]:
        return (yield from self.call(self.STATUS, query={"q": question}))


#: How a node says that it has no block of a height yet; -8 is its code for a parameter that will not do.
_OUT_OF_RANGE = re.compile(r"height out of range|Code:\s*-8\b", re.IGNORECASE)


class ConnectLookupApi(ConnectStatusApi):
    """The part of :class:`~airflow_provider_bloq.connect.client.ConnectApi` on blocks and transactions."""

    BLOCK: ClassVar = Endpoint("GET", "/block/{hash}", idempotent=True)
    BLOCK_INDEX: ClassVar = Endpoint("GET", "/block-index/{height}", idempotent=True)
    RAW_BLOCK: ClassVar = Endpoint("GET", "/rawblock/{hash}", idempotent=True)
    BLOCKS: ClassVar = Endpoint("GET", "/blocks", idempotent=True)
    TRANSACTION: ClassVar = Endpoint("GET", "/tx/{txid}", idempotent=True)
    RAW_TRANSACTION: ClassVar = Endpoint("GET", "/rawtx/{txid}", idempotent=True)
    TRANSACTIONS: ClassVar = Endpoint("GET", "/txs", idempotent=True)

    @operation
    def block(self, block_hash: str) -> Flow[ConnectBlock]:
        """Read a block.

        :param block_hash: Its hash.
        """
        answer = yield from self.call(self.BLOCK, hash=require_txid(block_hash, "block_hash"))
        return ConnectBlock.from_json(answer)

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


#: Transactions of addresses that are given at once, and addresses that are asked about at once.
LARGEST_PART = 50


class ConnectApi(ConnectLookupApi):
    """The endpoints of one chain. Nothing is sent for an address, id or hash that cannot be one.

    Connect has left Bloq's current documentation; these are the endpoints of its JavaScript SDK, which are those
    of Insight (https://github.com/bitpay/insight-api). Every operation raises
    :class:`~airflow_provider_bloq.exceptions.BloqApiError` where Connect answers with an error or not at all, and
    :class:`~airflow_provider_bloq.exceptions.BloqAuthError` where no usable token can be had.

    :param chain: ``btc`` or ``bch``.
    :param network: ``mainnet``, ``testnet`` or ``regtest``: whose addresses are accepted.
    :param host: What the Host header says, where the URL does not tell the chain.
    """

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

    @operation
    def address(
        self, address: str, first: int | None = None, end: int | None = None, *, txids: bool = True
    ) -> Flow[Address]:
        """Read the sums of an address, and the ids of its transactions, the newest first.

        :param address: The address.
        :param first: Place of the first transaction to list, from 0.
        :param end: Place of the first that is no longer listed.
        :param txids: Whether to list transactions at all.
        """
        query: dict[str, Any] = {} if txids else {"noTxList": 1}
        for name, place in (("from", first), ("to", end)):
            if place is not None:
                require_whole_number("first" if name == "from" else "end", place, least=0)
                query[name] = place
        answer = yield from self.call(self.ADDRESS, query=query, addr=self._address(address))
        return Address.from_json(answer)

    @operation
    def balance(self, address: str) -> Flow[int]:
        """Read what an address has by the blocks, in satoshi."""
        return (yield from self._sum(address, "balance"))

    @operation
    def total_received(self, address: str) -> Flow[int]:
        """Read what was ever paid to an address by the blocks, in satoshi."""
        return (yield from self._sum(address, "totalReceived"))

    @operation
    def total_sent(self, address: str) -> Flow[int]:
        """Read what was ever spent from an address by the blocks, in satoshi."""
        return (yield from self._sum(address, "totalSent"))

    @operation
    def unconfirmed_balance(self, address: str) -> Flow[int]:
        """Read what the waiting transactions would change of an address's balance, in satoshi."""
        return (yield from self._sum(address, "unconfirmedBalance"))

    @operation
    def unspent(self, addresses: str | Iterable[str]) -> Flow[list[Unspent]]:
        """List what can be spent from addresses, also of transactions that wait for a block.

        :param addresses: The addresses, at most :data:`LARGEST_PART`.
        """
        wanted = ",".join(self._addresses(addresses))
        return [
            Unspent.from_json(item) for item in list_of((yield from self.call(self.UNSPENT, addrs=wanted)))
        ]

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
        """Read a part of the transactions of addresses, the newest first; see also :meth:`history`.

        :param addresses: The addresses, at most :data:`LARGEST_PART`.
        :param first: Place of the first transaction, from 0.
        :param end: Place of the first that is no longer wanted, at most :data:`LARGEST_PART` further on; by
            default as many as are given at once.
        :param scripts: Whether the scripts of inputs are wanted.
        :param spent: Whether it is wanted of outputs by what they were spent.
        """
        return (yield from self._transactions_of(self._addresses(addresses), first, end, scripts, spent))

    @walking
    def history(
        self, addresses: str | Iterable[str], first: int = 0, *, size: int = LARGEST_PART
    ) -> Walk[Transaction]:
        """Iterate over the transactions of addresses, the newest first; read in parts as it goes on.

        Transactions that come after it began are not part of it.

        :param addresses: The addresses, at most :data:`LARGEST_PART`.
        :param first: Place of the first transaction, from 0: to take up what was broken off.
        :param size: Transactions to read at once, from 2 to :data:`LARGEST_PART`.
        :raises BloqListShifted: What was read has changed, as by a reorg or by a transaction that came into a
            block before others. Begin anew.
        """
        require_whole_number("first", first, least=0)
        require_whole_number("size", size, least=2, most=LARGEST_PART)
        wanted = self._addresses(addresses)

        def read(begin: int, end: int) -> Flow[Part[Transaction]]:
            page = yield from self._transactions_of(wanted, begin, end, scripts=False)
            return Part(page.items, page.total)

        return Walk(
            read,
            lambda transaction: transaction.txid,
            first,
            size,
            # A reorg sends transactions from behind to the front, past those that it takes away there.
            lambda transaction: transaction.block_hash,
        )

    @operation
    def transactions_of_address(self, address: str, page: int = 0) -> Flow[TransactionPage]:
        """Read a page of the transactions of an address, the newest first; ``total`` counts the pages.

        :param address: The address.
        :param page: Number of the page, from 0.
        """
        return (yield from self._page({"address": self._address(address)}, page))

    @operation
    def send(self, raw_transaction: str) -> Flow[str]:
        """Send a signed transaction once; see :func:`send_once` for what may be tried again.

        :param raw_transaction: The transaction in hex.
        :return: Its id, as Connect names it.
        """
        raw = RawTransaction.read(raw_transaction)
        answer = yield from self.call(self.SEND, body={"rawtx": raw.raw})
        return answer if isinstance(answer, str) else needed_text(answer, "txid")

    def request(self, endpoint: Endpoint, parts: Mapping[str, str], query: Any, body: Any) -> Request:
        """See :meth:`Service.request`."""
        request = super().request(endpoint, parts, query, body)
        return request if self._host is None else request.with_header("Host", self._host)

    def _address(self, address: str) -> str:
        return require_address(self.chain, address, self.network)

    def _addresses(self, addresses: str | Iterable[str]) -> list[str]:
        given = addresses.split(",") if isinstance(addresses, str) else list(addresses)
        wanted = list(
            dict.fromkeys(require_address(self.chain, one, self.network, "addresses") for one in given)
        )
        require_whole_number("number of addresses", len(wanted), least=1, most=LARGEST_PART)
        return wanted

    def _sum(self, address: str, what: str) -> Flow[int]:
        answer = yield from self.call(self.SUM, addr=self._address(address), what=what)
        found = whole_number_of({what: answer}, what)
        if found is None:
            raise BloqUnavailable(f"Connect gave something as {what} that is no whole number of satoshi.")
        return found

    def _transactions_of(
        self, addresses: list[str], first: int, end: int | None, scripts: bool, spent: bool = True
    ) -> Flow[TransactionPage]:
        require_whole_number("first", first, least=0)
        body: dict[str, Any] = {"addrs": addresses, "from": first}
        if end is not None:
            require_whole_number("end", end, least=first, most=first + LARGEST_PART)
            body["to"] = end
        if not scripts:
            body |= {"noAsm": True, "noScriptSig": True}
        if not spent:
            body["noSpent"] = True
        fields = object_of(
            (yield from self.call(self.ADDRESS_TRANSACTIONS, body=body)), "a list of transactions"
        )
        total = whole_number_of(fields, "totalItems")
        if total is None:
            raise BloqUnavailable("Connect gave a list of transactions without totalItems.")
        return TransactionPage(tuple(map(Transaction.from_json, list_of(fields.get("items")))), total)


class ConnectClient(RunsBlocking, ConnectApi):
    """:class:`ConnectApi` with operations that block."""


class AsyncConnectClient(RunsAsync, ConnectApi):
    """:class:`ConnectApi` with operations that are awaited."""


#: The operations that only read, each with its parameters.
OPERATIONS: Mapping[str, inspect.Signature] = {
    name: inspect.signature(made.flow)
    for kind in reversed(ConnectApi.__mro__)
    for name, made in vars(kind).items()
    if isinstance(made, operation) and name != "send"
}

#: How a parameter is annotated that is a whole number.
_NUMBERS = ("int", "int | None")


def check_operation(name: object, parameters: Mapping[str, Any], where: str) -> None:
    """Refuse what is no operation, or not its parameters.

    :param name: Name of the operation.
    :param parameters: Its parameters by name.
    :param where: The task.
    :raises BloqConfigurationError: There is no such operation, or it does not take these.
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
        raise BloqConfigurationError.of("parameters", "they are no dict", "Give them by name.", where)
    known = {own: one for own, one in signature.parameters.items() if own != "self"}
    takes = f"{name} takes {', '.join(known) or 'none'}."
    unknown = sorted(str(given) for given in parameters if given not in known)
    missing = [
        own for own, one in known.items() if one.default is inspect.Parameter.empty and own not in parameters
    ]
    if unknown or missing:
        told = [f"{', '.join(unknown)} is unknown"] * bool(unknown) + [
            f"{', '.join(missing)} is missing"
        ] * bool(missing)
        raise BloqConfigurationError.of("parameters", "; ".join(told), takes, where)


def parse_numbers(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of which the numbers are some, where a template has made texts of them.

    :param name: Name of the operation.
    :param parameters: Its parameters by name, which :func:`check_operation` has passed.
    """
    known = OPERATIONS[name].parameters
    return {
        own: number_of(given) if known[own].annotation in _NUMBERS else given
        for own, given in parameters.items()
    }


#: What nodes answer where they have the transaction: in the mempool, or in a block with its outputs unspent.
_KNOWN = re.compile(
    r"already[ -](?:in[ -])?(?:the[ -])?(?:mempool|known|block ?chain|utxo)|code:? ?-27\b", re.IGNORECASE
)
#: Refusals that pass: what it spends has not come yet, or fees are high at present.
_PASSES = re.compile(
    r"missing ?inputs|missingorspent|non-(?:BIP68-)?final|mempool (?:full|min fee)|too-long-mempool|code:? ?-25\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class SendResult:
    """What came of sending a transaction.

    :param txid: Its id.
    :param sent: Whether it was sent now; False where it was known already.
    """

    txid: str
    sent: bool


def send_once(api: ConnectApi, transaction: RawTransaction) -> Flow[SendResult]:
    """Send a transaction unless it is known already; a flow.

    It may be run again whatever came of it the last time: it looks for the transaction first, by the id that its
    bytes have. Where the answer to the sending is lost or speaks against it, it looks once more.

    :param api: Connect.
    :param transaction: The transaction.
    :raises BloqTransactionRefused: The node does not take it. Some such refusals pass: ``retryable`` tells.
    :raises BloqUnavailable: Whether it arrived is not known; run it again.
    """
    if (yield from _is_known(api, transaction.txid)):
        return SendResult(transaction.txid, sent=False)
    try:
        named = yield from ConnectApi.send.flow(api, transaction.raw)
    except BloqRateLimited:
        raise
    except BloqUnavailable:
        if (yield from _is_known(api, transaction.txid)):
            return SendResult(transaction.txid, sent=True)
        raise
    except BloqApiError as error:
        told = f"{error.code or ''} {error.detail or ''} {error.title or ''}"
        if _KNOWN.search(told) or (yield from _is_known(api, transaction.txid)):
            return SendResult(transaction.txid, sent=False)
        raise _refused(error, told, transaction.txid) from None
    if named.lower() != transaction.txid and not (yield from _is_known(api, transaction.txid)):
        raise BloqUnavailable(
            f"Connect says to have sent the transaction {named[:64]}, but {transaction.txid} was given to it."
        )
    return SendResult(transaction.txid, sent=True)


def _is_known(api: ConnectApi, txid: str) -> Flow[bool]:
    try:
        yield from ConnectApi.transaction.flow(api, txid)
    except BloqNotFound:
        return False
    return True


def _refused(error: BloqApiError, told: str, txid: str) -> BloqTransactionRefused:
    refusal = BloqTransactionRefused(f"{txid} is not taken: {error}", tx_hash=txid)
    refusal.retryable = _PASSES.search(told) is not None
    return refusal
