"""Connect's REST API as a source of chain data.

Headers are read one by one along the links between blocks. Transfers are searched by address, so that no whole blocks
have to be read.
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
from airflow_provider_bloq.connect.addresses import address_key
from airflow_provider_bloq.connect.client import ConnectApi, hash_at
from airflow_provider_bloq.connect.history import transactions_since
from airflow_provider_bloq.connect.models import ConnectBlock, Transaction
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqNotFound, BloqReorg
from airflow_provider_bloq.flow.effects import Flow

__all__ = [
    "ConnectSource",
    "header_of",
]


def header_of(block: ConnectBlock) -> BlockHeader:
    """Return the header of a block."""
    return BlockHeader(block.height, block.hash, block.previous_hash or GENESIS_PARENT, block.time)


@dataclass(frozen=True, slots=True)
class ConnectSource(ChainSource):
    """Reads a chain through Connect, once for all its watchers.

    :param api: Connect.
    :param reads: The reads shared by the watchers.
    """

    api: ConnectApi
    reads: SharedReads

    def headers(self, first: int, last: int) -> Flow[list[BlockHeader]]:
        """Read headers; sends one request for each block, and one more."""
        return (yield from self.reads.once(("headers", first, last), lambda: self._headers(first, last)))

    def transfers(self, wanted: TransferFilter, headers: Sequence[BlockHeader]) -> Flow[list[dict[str, Any]]]:
        first, last = headers[0], headers[-1]
        by_height = {header.height: header for header in headers}
        addresses = sorted(wanted.addresses)
        found = yield from self.reads.once(
            ("transactions", tuple(addresses), first.height),
            lambda: transactions_since(self.api, addresses, first.height),
        )
        inside = {one.txid: one for one in found if one.height in by_height}
        for one in inside.values():
            if one.height is not None and one.block_hash not in (None, by_height[one.height].hash):
                raise BloqReorg(first.height, last.height)
        # The search covers Connect's current chain, which must be the one that the headers belong to.
        if (yield from hash_at(self.api, last.height)) != last.hash:
            raise BloqReorg(first.height, last.height)
        positions: dict[str, int] = {}
        for height in sorted({one.height for one in inside.values() if one.height is not None}):
            positions |= yield from self._positions(by_height[height])
        by_key = {address_key(address): address for address in addresses}
        transfers = [
            {
                "height": one.height,
                "block_hash": by_height[one.height].hash,
                "tx_hash": one.txid,
                "tx_index": positions.get(one.txid),
                **side,
            }
            for one in inside.values()
            if one.height is not None
            for side in (*_spent(one, by_key), *_paid(one, by_key))
            if wanted.matches(side["from"], side["to"])
        ]
        # The sort is stable: the transfers of a transaction keep their order.
        return sorted(transfers, key=_sort_key)

    def logs(self, wanted: LogFilter, headers: Sequence[BlockHeader]) -> Flow[list[dict[str, Any]]]:
        """Raise an error: the chains of Connect's REST API have no contracts.

        :raises BloqConfigurationError: Always.
        """
        yield from ()
        raise BloqConfigurationError.of(
            "chain", "it has no contracts with logs", "Watch logs on a node of an EVM chain."
        )

    def _headers(self, first: int, last: int) -> Flow[list[BlockHeader]]:
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

    def _positions(self, header: BlockHeader) -> Flow[dict[str, int]]:
        """Read the positions of transactions in their block."""
        block = yield from self.reads.once(
            ("block", header.hash), lambda: ConnectApi.block.flow(self.api, header.hash)
        )
        return {txid: position for position, txid in enumerate(block.txids)}


def _spent(transaction: Transaction, wanted: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for spent in transaction.inputs:
        address = wanted.get(address_key(spent.address or ""))
        if address is not None and spent.amount_sat is not None:
            sides = {"input": spent.index, "output": None, "from": address, "to": None}
            yield {**sides, "amount": str(spent.amount_sat)}


def _paid(transaction: Transaction, wanted: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for output in transaction.outputs:
        # An output of bare multisig belongs to none of its addresses alone.
        only = output.addresses[0] if len(output.addresses) == 1 else ""
        address = wanted.get(address_key(only))
        if address is not None:
            sides = {"input": None, "output": output.index, "from": None, "to": address}
            yield {**sides, "amount": str(output.amount_sat)}


def _sort_key(transfer: dict[str, Any]) -> tuple[int, bool, int, str]:
    # Reproducible even if Connect does not list the transactions of a block.
    position = transfer["tx_index"]
    return transfer["height"], position is None, position or 0, transfer["tx_hash"]
