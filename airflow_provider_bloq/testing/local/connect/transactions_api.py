"""Connect's routes of transactions: one, its bytes, those of a block or an address, and sending."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import ceil

from aiohttp import web

from airflow_provider_bloq.testing.local.connect.door import Door
from airflow_provider_bloq.testing.local.connect.ledger import history
from airflow_provider_bloq.testing.local.connect.node_rpc import NodeRefusal
from airflow_provider_bloq.testing.local.connect.paging import PAGE, page_number
from airflow_provider_bloq.testing.local.connect.utxo_chain import ChainView
from airflow_provider_bloq.testing.local.connect.views import transaction_view
from airflow_provider_bloq.testing.local.inbound import json_object
from airflow_provider_bloq.testing.local.options import LocalBloqOptions
from airflow_provider_bloq.testing.local.problems import ApiProblem

__all__ = ["TransactionsApi"]

#: Where a block's first transaction begins in its hexadecimal: after a header of 80 bytes, and their number in one.
_FIRST_TRANSACTION = 2 * 81
#: Code and reason of a node for what is no transaction.
_UNDECODABLE = (-22, "TX decode failed. Make sure the tx has at least one input.")


@dataclass(frozen=True, slots=True)
class TransactionsApi:
    """The routes of transactions."""

    door: Door

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/tx/{txid}", self.show),
            web.get("/rawtx/{txid}", self.raw),
            web.get("/txs", self.page),
            web.post("/tx/send", self.send),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """Show a transaction of the best chain or of the mempool."""
        chain = await self.door.enter(request)
        transaction = chain.index.transaction(request.match_info["txid"])
        if transaction is None:
            raise _not_found()
        return web.json_response(transaction_view(chain.index, transaction))

    async def raw(self, request: web.Request) -> web.Response:
        """Show a transaction's bytes in hexadecimal."""
        chain = await self.door.enter(request)
        txid = request.match_info["txid"]
        if chain.index.transaction(txid) is None:
            raise _not_found()
        block = chain.index.block_of(txid)
        try:
            if block is not None and block.height == 0:
                # A node keeps the only transaction of the first block nowhere but in the block itself.
                raw = (await chain.rpc.call("getblock", block.hash, 0))[_FIRST_TRANSACTION:]
            else:
                # With its block the node finds it without an index of its own.
                raw = await chain.rpc.call("getrawtransaction", txid, 0, *([block.hash] if block else []))
        except NodeRefusal as refusal:
            raise _not_found() from refusal
        return web.json_response({"rawtx": raw})

    async def page(self, request: web.Request) -> web.Response:
        """Show a page of the transactions of a block, in its order, or of an address, the newest first."""
        chain = await self.door.enter(request)
        number = page_number(request.query)
        txids = await self._listed(chain, request)
        shown = [
            transaction_view(chain.index, transaction)
            for txid in txids[number * PAGE : (number + 1) * PAGE]
            if (transaction := chain.index.transaction(txid)) is not None
        ]
        return web.json_response({"pagesTotal": ceil(len(txids) / PAGE), "txs": shown})

    async def send(self, request: web.Request) -> web.Response:
        """Give a signed transaction to the node."""
        chain = await self.door.enter(request)
        raw = (await json_object(request)).get("rawtx")
        if not isinstance(raw, str) or not raw:
            raise ApiProblem(400, "InvalidBody", 'Missing parameter: "rawtx"')
        try:
            if not raw.isascii():
                # What JSON can write and a node cannot read would not even be refused.
                raise NodeRefusal(*_UNDECODABLE)
            txid = await chain.rpc.call("sendrawtransaction", raw)
        except NodeRefusal as refusal:
            raise _refused(refusal, self.door.backend.options) from refusal
        return web.json_response({"txid": txid})

    async def _listed(self, chain: ChainView, request: web.Request) -> list[str]:
        block, address = request.query.get("block"), request.query.get("address")
        if block is not None:
            found = next((one for one in reversed(chain.index.blocks) if one.hash == block), None)
            if found is None:
                raise _not_found()
            return list(found.txids)
        if address is None:
            raise ApiProblem(400, "InvalidParameter", "Block hash or address expected")
        if not (await chain.rpc.call("validateaddress", address))["isvalid"]:
            raise ApiProblem(400, "InvalidAddress", f"Invalid address: {address[:100]}")
        return history(chain.index, [address])


def _refused(refusal: NodeRefusal, options: LocalBloqOptions) -> ApiProblem:
    told = f"{refusal.message}. Code:{refusal.code}"
    bare = {"text": told, "json": json.dumps(told)}
    return ApiProblem(
        400,
        "TransactionRefused",
        told,
        plain=bare.get(options.connect_refusal),
        headers={"Content-Type": "application/json"} if options.connect_refusal == "json" else None,
    )


def _not_found() -> ApiProblem:
    return ApiProblem(404, "NotFound", "Not found")
