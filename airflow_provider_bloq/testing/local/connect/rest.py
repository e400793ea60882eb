"""Connect's REST API: addresses, blocks, transactions and status, as Insight has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import ceil
from typing import Any

from aiohttp import web

from airflow_provider_bloq.testing.local.connect.access import ChainAccess
from airflow_provider_bloq.testing.local.connect.chain import ChainView, NodeRpcError
from airflow_provider_bloq.testing.local.connect.index import AddressTotals, address_totals, history, unspent
from airflow_provider_bloq.testing.local.connect.views import (
    OmittedFields,
    address_view,
    block_view,
    summary_view,
    transaction_view,
    unspent_view,
)
from airflow_provider_bloq.testing.local.inbound import digits, json_object, positive_integer
from airflow_provider_bloq.testing.local.options import LocalBloqOptions
from airflow_provider_bloq.testing.local.problems import ApiProblem

__all__ = [
    "PAGE",
    "AddressesRoutes",
    "BlocksRoutes",
    "ItemRange",
    "StatusRoutes",
    "TransactionsRoutes",
    "is_set",
    "page_number",
    "read_range",
    "whole_number",
]


#: Transactions on a page of ``/txs``, and in an answer of ``/addrs/txs`` without a range.
PAGE = 10
#: The largest range of ``/addrs/txs``.
_MAX_RANGE = 50


@dataclass(frozen=True, slots=True)
class ItemRange:
    """A slice of a list; ``end`` None for the end of the list."""

    first: int
    end: int | None


def read_range(params: Mapping[str, Any], *, bounded: bool) -> ItemRange:
    """Return the range that ``from`` and ``to`` give.

    :param params: The query or the body.
    :param bounded: Whether the range has a maximum, and a default end.
    :raises ApiProblem: They are not whole numbers, in the wrong order or too far apart (400).
    """
    first = whole_number(params, "from", 0)
    end = whole_number(params, "to", first + PAGE) if bounded or params.get("to") is not None else None
    if end is not None and end < first:
        raise ApiProblem(400, "InvalidParameter", f'"from" ({first}) must not be greater than "to" ({end})')
    if bounded and end is not None and end - first > _MAX_RANGE:
        raise ApiProblem(
            400,
            "InvalidParameter",
            f'"from" ({first}) and "to" ({end}) range should be less than or equal to {_MAX_RANGE}',
        )
    return ItemRange(first, end)


def page_number(params: Mapping[str, Any]) -> int:
    """Return ``pageNum``, which counts from 0.

    :raises ApiProblem: It is not a whole number (400).
    """
    return whole_number(params, "pageNum", 0)


def whole_number(params: Mapping[str, Any], name: str, default: int) -> int:
    """Return a non-negative whole number.

    :raises ApiProblem: It is something else (400).
    """
    value = params.get(name)
    if value is None:
        return default
    number = None if isinstance(value, bool) else digits(str(value))
    if number is None:
        raise ApiProblem(400, "InvalidParameter", f"{name} must be a whole number")
    return number


def is_set(params: Mapping[str, Any], name: str) -> bool:
    """Return whether a flag is set, which clients write as ``1`` or ``true``."""
    return params.get(name) in (True, 1, "1", "true")


@dataclass(frozen=True, slots=True)
class AddressesRoutes:
    """The routes of addresses."""

    access: ChainAccess

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
        """Show the totals of an address and its transactions, newest first."""
        chain, address = await self._chain_and_address(request)
        totals = address_totals(chain.index, address)
        if is_set(request.query, "noTxList"):
            return web.json_response(address_view(address, totals, None))
        part = read_range(request.query, bounded=False)
        txids = history(chain.index, [address])[part.first : part.end]
        return web.json_response(address_view(address, totals, txids))

    async def balance(self, request: web.Request) -> web.Response:
        """Return the confirmed balance of the address in satoshi."""
        return web.json_response((await self._totals(request)).balance)

    async def total_received(self, request: web.Request) -> web.Response:
        """Return what was paid to the address in blocks, in satoshi."""
        return web.json_response((await self._totals(request)).received)

    async def total_sent(self, request: web.Request) -> web.Response:
        """Return what was spent from the address in blocks, in satoshi."""
        return web.json_response((await self._totals(request)).sent)

    async def unconfirmed_balance(self, request: web.Request) -> web.Response:
        """Return the change of the balance by unconfirmed transactions, in satoshi."""
        return web.json_response((await self._totals(request)).unconfirmed)

    async def unspent(self, request: web.Request) -> web.Response:
        """List the unspent outputs of the addresses in the path."""
        chain = await self.access.authorize(request)
        return await self._unspent(chain, request.match_info["addrs"])

    async def unspent_of_many(self, request: web.Request) -> web.Response:
        """List the unspent outputs of the addresses in the body."""
        chain = await self.access.authorize(request)
        return await self._unspent(chain, (await json_object(request)).get("addrs"))

    async def transactions(self, request: web.Request) -> web.Response:
        """Show a range of the transactions of the addresses in the path, newest first."""
        chain = await self.access.authorize(request)
        return await self._transactions(chain, request.match_info["addrs"], request.query)

    async def transactions_of_many(self, request: web.Request) -> web.Response:
        """Show a range of the transactions of the addresses in the body, newest first."""
        chain = await self.access.authorize(request)
        body = await json_object(request)
        return await self._transactions(chain, body.get("addrs"), body)

    async def _chain_and_address(self, request: web.Request) -> tuple[ChainView, str]:
        chain = await self.access.authorize(request)
        (address,) = await _valid(chain, request.match_info["addr"])
        return chain, address

    async def _totals(self, request: web.Request) -> AddressTotals:
        chain, address = await self._chain_and_address(request)
        return address_totals(chain.index, address)

    async def _unspent(self, chain: ChainView, addresses: Any) -> web.Response:
        found = unspent(chain.index, await _valid(chain, addresses))
        return web.json_response([unspent_view(chain.index, coin) for coin in found])

    async def _transactions(
        self, chain: ChainView, addresses: Any, params: Mapping[str, Any]
    ) -> web.Response:
        wanted = await _valid(chain, addresses)
        part = read_range(params, bounded=True)
        shown = OmittedFields(
            no_asm=is_set(params, "noAsm"),
            no_script_sig=is_set(params, "noScriptSig"),
            no_spent=is_set(params, "noSpent"),
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
    """Return the addresses of a list or of a text with commas, after the node has validated them.

    The caller reads the index without another await, so that its answer is of one moment.
    """
    parts = addresses.split(",") if isinstance(addresses, str) else addresses
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) and part for part in parts):
        raise ApiProblem(400, "InvalidParameter", "Must include address")
    wanted = list(dict.fromkeys(parts))
    for part in wanted:
        # A node cannot even read some characters outside ASCII.
        if not part.isascii():
            raise _invalid(part)
    answers = await chain.rpc.batch([("validateaddress", [part]) for part in wanted])
    for part, answer in zip(wanted, answers, strict=True):
        if not (isinstance(answer, dict) and answer.get("isvalid")):
            raise _invalid(part)
    return wanted


def _invalid(address: str) -> ApiProblem:
    return ApiProblem(400, "InvalidAddress", f"Invalid address: {address[:100]}")


#: Default number of summaries in an answer.
_DEFAULT_LIMIT = 200
_DAY = timedelta(days=1)
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class BlocksRoutes:
    """The routes of blocks."""

    access: ChainAccess

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/block/{hash}", self.show),
            web.get("/block-index/{height}", self.hash_at),
            web.get("/rawblock/{hash}", self.raw),
            web.get("/blocks", self.of_day),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """Show a block, even one that has left the best chain."""
        chain = await self.access.authorize(request)
        wanted = request.match_info["hash"]
        block = await _block_call(chain, "getblock", wanted, 1)
        stats = await _block_call(chain, "getblockstats", wanted, ["subsidy"])
        return web.json_response(block_view(block, stats["subsidy"]))

    async def hash_at(self, request: web.Request) -> web.Response:
        """Return the hash of the block at a height of the best chain."""
        chain = await self.access.authorize(request)
        height = whole_number(request.match_info, "height", 0)
        if height > chain.index.height:
            raise _no_such_block()
        return web.json_response({"blockHash": chain.index.blocks[height].hash})

    async def raw(self, request: web.Request) -> web.Response:
        """Return a block's bytes in hexadecimal."""
        chain = await self.access.authorize(request)
        return web.json_response(
            {"rawblock": await _block_call(chain, "getblock", request.match_info["hash"], 0)}
        )

    async def of_day(self, request: web.Request) -> web.Response:
        """List the blocks of the best chain of one day (UTC), newest first."""
        chain = await self.access.authorize(request)
        now = datetime.fromtimestamp(self.access.backend.clock.now(), UTC)
        day = _read_day(request.query, now.date())
        limit = whole_number(request.query, "limit", _DEFAULT_LIMIT)
        start = _timestamp(day)
        end = start + _DAY_SECONDS
        found = [block for block in reversed(chain.index.blocks) if start <= block.time < end]
        listed = found[:limit]
        more = len(found) > limit
        pagination: dict[str, Any] = {
            "next": _beside(day, _DAY),
            "prev": _beside(day, -_DAY),
            "currentTs": end - 1,
            "current": str(day),
            "isToday": day == now.date(),
            "more": more,
        }
        if more:
            pagination["moreTs"] = listed[-1].time if listed else end - 1
        return web.json_response(
            {
                "blocks": [summary_view(block) for block in listed],
                "length": len(listed),
                "pagination": pagination,
            }
        )


def _read_day(params: Mapping[str, str], today: date) -> date:
    text = params.get("blockDate")
    if text is None:
        return today
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise ApiProblem(400, "InvalidParameter", "Please use yyyy-mm-dd format for blockDate") from error


def _beside(day: date, step: timedelta) -> str | None:
    try:
        return str(day + step)
    except OverflowError:
        return None  # end of the calendar


def _timestamp(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())


async def _block_call(chain: ChainView, method: str, block: str, *more: Any) -> Any:
    try:
        return await chain.rpc.call(method, block, *more)
    except NodeRpcError as refusal:
        raise _no_such_block() from refusal


def _no_such_block() -> ApiProblem:
    return ApiProblem(404, "NotFound", "Not found")


#: Offset of the first transaction in a block's hexadecimal: after a header of 80 bytes and a count of one byte.
_FIRST_TRANSACTION = 2 * 81
#: A node's error for data that is not a transaction.
_UNDECODABLE = (-22, "TX decode failed. Make sure the tx has at least one input.")


@dataclass(frozen=True, slots=True)
class TransactionsRoutes:
    """The routes of transactions."""

    access: ChainAccess

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
        chain = await self.access.authorize(request)
        transaction = chain.index.transaction(request.match_info["txid"])
        if transaction is None:
            raise _not_found()
        return web.json_response(transaction_view(chain.index, transaction))

    async def raw(self, request: web.Request) -> web.Response:
        """Return a transaction's bytes in hexadecimal."""
        chain = await self.access.authorize(request)
        txid = request.match_info["txid"]
        if chain.index.transaction(txid) is None:
            raise _not_found()
        block = chain.index.block_of(txid)
        try:
            if block is not None and block.height == 0:
                # A node returns the transaction of the first block only as part of that block.
                raw = (await chain.rpc.call("getblock", block.hash, 0))[_FIRST_TRANSACTION:]
            else:
                # With the hash of its block, the node finds it without an index.
                raw = await chain.rpc.call("getrawtransaction", txid, 0, *([block.hash] if block else []))
        except NodeRpcError as refusal:
            raise _not_found() from refusal
        return web.json_response({"rawtx": raw})

    async def page(self, request: web.Request) -> web.Response:
        """Show a page of the transactions of a block, in its order, or of an address, newest first."""
        chain = await self.access.authorize(request)
        number = page_number(request.query)
        txids = await self._listed(chain, request)
        shown = [
            transaction_view(chain.index, transaction)
            for txid in txids[number * PAGE : (number + 1) * PAGE]
            if (transaction := chain.index.transaction(txid)) is not None
        ]
        return web.json_response({"pagesTotal": ceil(len(txids) / PAGE), "txs": shown})

    async def send(self, request: web.Request) -> web.Response:
        """Send a signed transaction to the node."""
        chain = await self.access.authorize(request)
        raw = (await json_object(request)).get("rawtx")
        if not isinstance(raw, str) or not raw:
            raise ApiProblem(400, "InvalidBody", 'Missing parameter: "rawtx"')
        try:
            if not raw.isascii():
                # The node cannot even parse some of these characters.
                raise NodeRpcError(*_UNDECODABLE)
            txid = await chain.rpc.call("sendrawtransaction", raw)
        except NodeRpcError as refusal:
            raise _refused(refusal, self.access.backend.options) from refusal
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


def _refused(refusal: NodeRpcError, options: LocalBloqOptions) -> ApiProblem:
    message = f"{refusal.message}. Code:{refusal.code}"
    bare = {"text": message, "json": json.dumps(message)}
    return ApiProblem(
        400,
        "TransactionRefused",
        message,
        plain=bare.get(options.connect_refusal),
        headers={"Content-Type": "application/json"} if options.connect_refusal == "json" else None,
    )


def _not_found() -> ApiProblem:
    return ApiProblem(404, "NotFound", "Not found")


_DEFAULT_TARGET = "2"
_LARGEST_TARGET = 1008


@dataclass(frozen=True, slots=True)
class StatusRoutes:
    """The routes of the node's status."""

    access: ChainAccess

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/status", self.status),
            web.get("/sync", self.sync),
            web.get("/peer", self.peer),
            web.get("/utils/estimatefee", self.estimate_fee),
        ]

    async def status(self, request: web.Request) -> web.Response:
        """Return what ``q`` asks for; any other value is answered as ``getInfo``."""
        chain = await self.access.authorize(request)
        match request.query.get("q"):
            case "getDifficulty":
                state = await chain.rpc.call("getblockchaininfo")
                info: dict[str, Any] = {"difficulty": float(state["difficulty"])}
            case "getBestBlockHash":
                info = {"bestblockhash": chain.index.blocks[-1].hash}
            case "getLastBlockHash":
                newest = chain.index.blocks[-1].hash
                info = {"syncTipHash": newest, "lastblockhash": newest}
            case _:
                info = {"info": await _info(chain)}
        return web.json_response(info)

    async def sync(self, request: web.Request) -> web.Response:
        """Return how far the index is: always as far as the node."""
        chain = await self.access.authorize(request)
        return web.json_response(
            {
                "status": "finished",
                "blockChainHeight": chain.index.height,
                "syncPercentage": 100,
                "height": chain.index.height,
                "error": None,
                "type": "bitcore node",
            }
        )

    async def peer(self, request: web.Request) -> web.Response:
        """Report that the node is connected."""
        await self.access.authorize(request)
        return web.json_response({"connected": True, "host": "127.0.0.1", "port": None})

    async def estimate_fee(self, request: web.Request) -> web.Response:
        """Return the fee in coins per 1000 bytes for each number of blocks; -1 without an estimate."""
        chain = await self.access.authorize(request)
        numbers = request.query.get("nbBlocks", _DEFAULT_TARGET).split(",")
        targets = [positive_integer(text, "nbBlocks") for text in numbers]
        if max(targets) > _LARGEST_TARGET:
            raise ApiProblem(400, "InvalidParameter", f"nbBlocks must not be greater than {_LARGEST_TARGET}")
        answers = await chain.rpc.batch([("estimatesmartfee", [target]) for target in targets])
        return web.json_response(
            {str(target): _rate(answer) for target, answer in zip(targets, answers, strict=True)}
        )


async def _info(chain: ChainView) -> dict[str, Any]:
    answers = await chain.rpc.batch([("getnetworkinfo", []), ("getblockchaininfo", [])])
    for answer in answers:
        if isinstance(answer, NodeRpcError):
            raise ApiProblem(502, "ChainFailed", "The node behind Connect does not tell of itself")
    network, state = answers
    return {
        "version": network["version"],
        "protocolversion": network["protocolversion"],
        "blocks": chain.index.height,
        "timeoffset": network["timeoffset"],
        "connections": network["connections"],
        "proxy": "",
        "difficulty": float(state["difficulty"]),
        "testnet": state["chain"] != "main",
        "relayfee": float(network["relayfee"]),
        "errors": "",
        "network": state["chain"],
    }


def _rate(answer: Any) -> float | int:
    if isinstance(answer, NodeRpcError) or "feerate" not in answer:
        return -1
    return float(answer["feerate"])
