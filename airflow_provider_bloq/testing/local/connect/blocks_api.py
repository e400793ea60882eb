"""Connect's routes of blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from aiohttp import web

from airflow_provider_bloq.testing.local.connect.door import Door
from airflow_provider_bloq.testing.local.connect.node_rpc import NodeRefusal
from airflow_provider_bloq.testing.local.connect.paging import whole_number
from airflow_provider_bloq.testing.local.connect.utxo_chain import ChainView
from airflow_provider_bloq.testing.local.connect.views import block_view, summary_view
from airflow_provider_bloq.testing.local.problems import ApiProblem

__all__ = ["BlocksApi"]

#: Summaries in an answer that asks for no other number.
_LIMIT = 200
_DAY = timedelta(days=1)
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class BlocksApi:
    """The routes of blocks."""

    door: Door

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/block/{hash}", self.show),
            web.get("/block-index/{height}", self.hash_at),
            web.get("/rawblock/{hash}", self.raw),
            web.get("/blocks", self.of_day),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """Show a block, also one that is no longer of the best chain."""
        chain = await self.door.enter(request)
        wanted = request.match_info["hash"]
        told = await _asked(chain, "getblock", wanted, 1)
        stats = await _asked(chain, "getblockstats", wanted, ["subsidy"])
        return web.json_response(block_view(told, stats["subsidy"]))

    async def hash_at(self, request: web.Request) -> web.Response:
        """Tell the hash of the best chain's block of a height."""
        chain = await self.door.enter(request)
        height = whole_number(request.match_info, "height", 0)
        if height > chain.index.height:
            raise _no_such_block()
        return web.json_response({"blockHash": chain.index.blocks[height].hash})

    async def raw(self, request: web.Request) -> web.Response:
        """Show a block's bytes in hexadecimal."""
        chain = await self.door.enter(request)
        return web.json_response({"rawblock": await _asked(chain, "getblock", request.match_info["hash"], 0)})

    async def of_day(self, request: web.Request) -> web.Response:
        """List the best chain's blocks of one day (UTC), the newest first."""
        chain = await self.door.enter(request)
        now = datetime.fromtimestamp(self.door.backend.clock.now(), UTC)
        day = _read_day(request.query, now.date())
        limit = whole_number(request.query, "limit", _LIMIT)
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


def _read_day(asked: Mapping[str, str], today: date) -> date:
    text = asked.get("blockDate")
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
        return None  # the calendar ends here


def _timestamp(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())


async def _asked(chain: ChainView, method: str, block: str, *more: Any) -> Any:
    try:
        return await chain.rpc.call(method, block, *more)
    except NodeRefusal as refusal:
        raise _no_such_block() from refusal


def _no_such_block() -> ApiProblem:
    return ApiProblem(404, "NotFound", "Not found")
