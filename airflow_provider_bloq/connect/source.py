"""Connect's REST API as the source of a chain: no node of one's own, and no whole blocks to read.

Headers are walked along the links that the blocks have. Payments are searched for by address, where a node would
have to give every block with all its transactions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.chains.blocks import GENESIS_PARENT, BlockHeader
from airflow_provider_bloq.chains.logs import LogFilter
from airflow_provider_bloq.chains.queries import SharedReads
from airflow_provider_bloq.chains.sources import ChainSource
from airflow_provider_bloq.chains.transfers import TransferFilter
from airflow_provider_bloq.connect.addresses import bare_address
from airflow_provider_bloq.connect.client import ConnectApi
from airflow_provider_bloq.connect.models import ConnectBlock, Transaction
from airflow_provider_bloq.connect.payments import transactions_since
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqNotFound, BloqReorg
from airflow_provider_bloq.flow.effects import Flow

__all__ = [
    "ConnectSource",
    "header_of",
]


def header_of(block: ConnectBlock) -> BlockHeader:
    """Return what following a chain needs of a block."""
    return BlockHeader(block.height, block.hash, block.previous_hash or GENESIS_PARENT, block.time)


@dataclass(frozen=True, slots=True)
class ConnectSource(ChainSource):
    """Reads a chain through Connect, or takes what another watcher has just read.

    :param api: Connect.
    :param reads: What is read of the chain, once for all its watchers.
    """

    api: ConnectApi
    reads: SharedReads

    def headers(self, first: int, last: int) -> Flow[list[BlockHeader]]:
        """See :meth:`ChainSource.headers`; a request for each, and one more."""
        return (yield from self.reads.once(("headers", first, last), lambda: self._walked(first, last)))

    def transfers(self, wanted: TransferFilter, headers: Sequence[BlockHeader]) -> Flow[list[dict[str, Any]]]:
        """See :meth:`ChainSource.transfers`; they are in the form of those that a Bitcoin node gives."""
        by_height = {header.height: header for header in headers}
        first, last = headers[0], headers[-1]
        addresses = sorted(wanted.addresses)
        found = yield from self.reads.once(
            ("transactions", tuple(addresses), first.height),
            lambda: transactions_since(self.api, addresses, first.height),
        )
        inside = {one.txid: one for one in found if one.height in by_height}
        for one in inside.values():
            if one.height is not None and one.block_hash not in (None, by_height[one.height].hash):
                raise BloqReorg(first.height, last.height)
        # The search by address knows one chain at a time: it must be the one to which the headers belong.
        if (yield from self._hash_at(last.height)) != last.hash:
            raise BloqReorg(first.height, last.height)
        heights = sorted({one.height for one in inside.values() if one.height is not None})
        places: dict[str, int] = {}
        for height in heights:
            places |= yield from self._places(by_height[height])
        of_wanted = {bare_address(address): address for address in addresses}
        transfers = [
            {
                "height": one.height,
                "block_hash": by_height[one.height].hash,
                "tx_hash": one.txid,
                "tx_index": places.get(one.txid),
                **side,
            }
            for one in inside.values()
            if one.height is not None
            for side in (*_spent(one, of_wanted), *_paid(one, of_wanted))
            if wanted.matches(side["from"], side["to"])
        ]
        # Sorting leaves what belongs to one transaction in its order.
        return sorted(transfers, key=_place)

    def logs(self, wanted: LogFilter, headers: Sequence[BlockHeader]) -> Flow[list[dict[str, Any]]]:
        """Refuse: the chains of Connect's REST API have no contracts.

        :raises BloqConfigurationError: Always.
        """
        yield from ()
        raise BloqConfigurationError.of(
            "chain", "it has no contracts with logs", "Watch the logs of an EVM chain, by a node of it."
        )

    def _walked(self, first: int, last: int) -> Flow[list[BlockHeader]]:
        headers: list[BlockHeader] = []
        block_hash: str | None = None
        for height in range(first, last + 1):
            try:
                if block_hash is None:
                    block_hash = yield from ConnectApi.block_hash.flow(self.api, height)
                block = yield from ConnectApi.block.flow(self.api, block_hash)
            except BloqNotFound:
                break
            if not block.is_main_chain or block.height != height:
                break
            headers.append(header_of(block))
            block_hash = block.next_hash
        return headers

    def _hash_at(self, height: int) -> Flow[str | None]:
        try:
            return (yield from ConnectApi.block_hash.flow(self.api, height))
        except BloqNotFound:
            return None

    def _places(self, header: BlockHeader) -> Flow[dict[str, int]]:
        """Read the places of transactions in their block."""
        block = yield from self.reads.once(
            ("block", header.hash), lambda: ConnectApi.block.flow(self.api, header.hash)
        )
        return {txid: place for place, txid in enumerate(block.txids)}


def _spent(transaction: Transaction, wanted: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for spent in transaction.inputs:
        address = wanted.get(bare_address(spent.address or ""))
        if address is not None and spent.amount_sat is not None:
            sides = {"input": spent.index, "output": None, "from": address, "to": None}
            yield {**sides, "amount": str(spent.amount_sat)}


def _paid(transaction: Transaction, wanted: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for output in transaction.outputs:
        # What several hold together, an output of old multisig, is nobody's alone.
        only = output.addresses[0] if len(output.addresses) == 1 else ""
        address = wanted.get(bare_address(only))
        if address is not None:
            sides = {"input": None, "output": output.index, "from": None, "to": address}
            yield {**sides, "amount": str(output.amount_sat)}


def _place(transfer: dict[str, Any]) -> tuple[int, bool, int, str]:
    # Were Connect not to list a block's transactions, the order would still be the same each time.
    place = transfer["tx_index"]
    return transfer["height"], place is None, place or 0, transfer["tx_hash"]
