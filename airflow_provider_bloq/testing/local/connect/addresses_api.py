"""Connect's routes of addresses: sums, unspent outputs, and the transactions of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from airflow_provider_bloq.testing.local.connect.door import Door
from airflow_provider_bloq.testing.local.connect.ledger import Standing, history, standing, unspent
from airflow_provider_bloq.testing.local.connect.paging import is_set, read_range
from airflow_provider_bloq.testing.local.connect.utxo_chain import ChainView
from airflow_provider_bloq.testing.local.connect.views import (
    Shown,
    address_view,
    transaction_view,
    unspent_view,
)
from airflow_provider_bloq.testing.local.inbound import json_object
from airflow_provider_bloq.testing.local.problems import ApiProblem

__all__ = ["AddressesApi"]


@dataclass(frozen=True, slots=True)
class AddressesApi:
    """The routes of addresses."""

    door: Door

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/addr/{addr}", self.show),
            web.get("/addr/{addr}/balance", self.balance),
            web.get("/addr/{addr}/totalReceived", self.total_received),
            web.get("/addr/{addr}/totalSent", self.total_sent),
            web.get("/addr/{addr}/unconfirmedBalance", self.unconfirmed_balance),
            web.get("/addr/{addrs}/utxo", self.unspent),
            web.get("/addrs/{addrs}/utxo", self.unspent),
            web.post("/addrs/utxo", self.unspent_of_many),
            web.get("/addrs/{addrs}/txs", self.transactions),
            web.post("/addrs/txs", self.transactions_of_many),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """Show the sums of an address and its transactions, the newest first."""
        chain, address = await self._asked(request)
        sums = standing(chain.index, address)
        if is_set(request.query, "noTxList"):
            return web.json_response(address_view(address, sums, None))
        part = read_range(request.query, bounded=False)
        txids = history(chain.index, [address])[part.first : part.end]
        return web.json_response(address_view(address, sums, txids))

    async def balance(self, request: web.Request) -> web.Response:
        """Tell what blocks say that the address has, in satoshi."""
        return web.json_response((await self._sums(request)).balance)

    async def total_received(self, request: web.Request) -> web.Response:
        """Tell what blocks say that was paid to the address, in satoshi."""
        return web.json_response((await self._sums(request)).received)

    async def total_sent(self, request: web.Request) -> web.Response:
        """Tell what blocks say that was spent from the address, in satoshi."""
        return web.json_response((await self._sums(request)).sent)

    async def unconfirmed_balance(self, request: web.Request) -> web.Response:
        """Tell what the waiting transactions would change, in satoshi."""
        return web.json_response((await self._sums(request)).unconfirmed)

    async def unspent(self, request: web.Request) -> web.Response:
        """List the unspent outputs of the addresses of the path."""
        chain = await self.door.enter(request)
        return await self._unspent(chain, request.match_info["addrs"])

    async def unspent_of_many(self, request: web.Request) -> web.Response:
        """List the unspent outputs of the addresses of the body."""
        chain = await self.door.enter(request)
        return await self._unspent(chain, (await json_object(request)).get("addrs"))

    async def transactions(self, request: web.Request) -> web.Response:
        """Show a range of the transactions of the addresses of the path, the newest first."""
        chain = await self.door.enter(request)
        return await self._transactions(chain, request.match_info["addrs"], request.query)

    async def transactions_of_many(self, request: web.Request) -> web.Response:
        """Show a range of the transactions of the addresses of the body, the newest first."""
        chain = await self.door.enter(request)
        body = await json_object(request)
        return await self._transactions(chain, body.get("addrs"), body)

    async def _asked(self, request: web.Request) -> tuple[ChainView, str]:
        chain = await self.door.enter(request)
        (address,) = await _valid(chain, request.match_info["addr"])
        return chain, address

    async def _sums(self, request: web.Request) -> Standing:
        chain, address = await self._asked(request)
        return standing(chain.index, address)

    async def _unspent(self, chain: ChainView, addresses: Any) -> web.Response:
        found = unspent(chain.index, await _valid(chain, addresses))
        return web.json_response([unspent_view(chain.index, coin) for coin in found])

    async def _transactions(self, chain: ChainView, addresses: Any, asked: Mapping[str, Any]) -> web.Response:
        wanted = await _valid(chain, addresses)
        part = read_range(asked, bounded=True)
        shown = Shown(
            no_asm=is_set(asked, "noAsm"),
            no_script_sig=is_set(asked, "noScriptSig"),
            no_spent=is_set(asked, "noSpent"),
        )
        txids = history(chain.index, wanted)
        items = [
            transaction_view(chain.index, transaction, shown)
            for txid in txids[part.first : part.end]
            if (transaction := chain.index.transaction(txid)) is not None
        ]
        end = min(part.end if part.end is not None else len(txids), len(txids))
        return web.json_response({"totalItems": len(txids), "from": part.first, "to": end, "items": items})


async def _valid(chain: ChainView, addresses: Any) -> list[str]:
    """Read addresses as a list or as a text with commas; the node says whether they are some.

    The index is read after this without another wait, so that an answer is of one moment.
    """
    parts = addresses.split(",") if isinstance(addresses, str) else addresses
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) and part for part in parts):
        raise ApiProblem(400, "InvalidParameter", "Must include address")
    wanted = list(dict.fromkeys(parts))
    for part in wanted:
        # No address has others, and some of them a node does not even read.
        if not part.isascii():
            raise _invalid(part)
    answers = await chain.rpc.batch([("validateaddress", [part]) for part in wanted])
    for part, answer in zip(wanted, answers, strict=True):
        if not (isinstance(answer, dict) and answer.get("isvalid")):
            raise _invalid(part)
    return wanted


def _invalid(address: str) -> ApiProblem:
    return ApiProblem(400, "InvalidAddress", f"Invalid address: {address[:100]}")
