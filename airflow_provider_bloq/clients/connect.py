"""Connect: the REST API for Bitcoin and Bitcoin Cash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from airflow_provider_bloq.auth.flow import Flow, Request
from airflow_provider_bloq.clients.bitcoin_addresses import require_address
from airflow_provider_bloq.clients.bitcoin_raw import RawTransaction
from airflow_provider_bloq.clients.connect_chains import require_network, require_rest_chain
from airflow_provider_bloq.clients.connect_fields import list_of, needed_text, object_of, whole_number_of
from airflow_provider_bloq.clients.connect_lookup import ConnectLookupApi
from airflow_provider_bloq.clients.connect_models import Address, Transaction, TransactionPage, Unspent
from airflow_provider_bloq.clients.endpoint import Endpoint
from airflow_provider_bloq.clients.limits import require_whole_number
from airflow_provider_bloq.clients.operation import RunsAsync, RunsBlocking, operation
from airflow_provider_bloq.clients.walking import Part, Walk, walking
from airflow_provider_bloq.exceptions import (
    BloqUnavailable,
)

__all__ = ["LARGEST_PART", "AsyncConnectClient", "ConnectApi", "ConnectClient"]

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

    ADDRESS: ClassVar = Endpoint("GET", "/addr/{addr}", repeatable=True)
    SUM: ClassVar = Endpoint("GET", "/addr/{addr}/{what}", repeatable=True)
    UNSPENT: ClassVar = Endpoint("GET", "/addrs/{addrs}/utxo", repeatable=True)
    ADDRESS_TRANSACTIONS: ClassVar = Endpoint("POST", "/addrs/txs", repeatable=True)
    SEND: ClassVar = Endpoint("POST", "/tx/send", repeatable=False)

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
        """Send a signed transaction once; see :func:`.connect_sending.sent` for what may be tried again.

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
