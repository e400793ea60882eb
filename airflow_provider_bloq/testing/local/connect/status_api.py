"""Connect's routes that tell of the node itself: status, sync, peer, and what a fee is expected to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from airflow_provider_bloq.testing.local.connect.door import Door
from airflow_provider_bloq.testing.local.connect.node_rpc import NodeRefusal
from airflow_provider_bloq.testing.local.connect.utxo_chain import ChainView
from airflow_provider_bloq.testing.local.inbound import positive_integer
from airflow_provider_bloq.testing.local.problems import ApiProblem

__all__ = ["StatusApi"]

_DEFAULT_TARGET = "2"
_LARGEST_TARGET = 1008


@dataclass(frozen=True, slots=True)
class StatusApi:
    """The routes that tell of the node."""

    door: Door

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/status", self.status),
            web.get("/sync", self.sync),
            web.get("/peer", self.peer),
            web.get("/utils/estimatefee", self.estimate_fee),
        ]

    async def status(self, request: web.Request) -> web.Response:
        """Tell what ``q`` asks for; everything else is answered as ``getInfo``."""
        chain = await self.door.enter(request)
        match request.query.get("q"):
            case "getDifficulty":
                state = await chain.rpc.call("getblockchaininfo")
                told: dict[str, Any] = {"difficulty": float(state["difficulty"])}
            case "getBestBlockHash":
                told = {"bestblockhash": chain.index.blocks[-1].hash}
            case "getLastBlockHash":
                newest = chain.index.blocks[-1].hash
                told = {"syncTipHash": newest, "lastblockhash": newest}
            case _:
                told = {"info": await _info(chain)}
        return web.json_response(told)

    async def sync(self, request: web.Request) -> web.Response:
        """Tell how far the index is: always as far as the node."""
        chain = await self.door.enter(request)
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
        """Tell that the node is there."""
        await self.door.enter(request)
        return web.json_response({"connected": True, "host": "127.0.0.1", "port": None})

    async def estimate_fee(self, request: web.Request) -> web.Response:
        """Tell the fee in coins per 1000 bytes for each number of blocks; -1 where the node has no estimate."""
        chain = await self.door.enter(request)
        asked = request.query.get("nbBlocks", _DEFAULT_TARGET).split(",")
        targets = [positive_integer(text, "nbBlocks") for text in asked]
        if max(targets) > _LARGEST_TARGET:
            raise ApiProblem(400, "InvalidParameter", f"nbBlocks must not be greater than {_LARGEST_TARGET}")
        answers = await chain.rpc.batch([("estimatesmartfee", [target]) for target in targets])
        return web.json_response(
            {str(target): _rate(answer) for target, answer in zip(targets, answers, strict=True)}
        )


async def _info(chain: ChainView) -> dict[str, Any]:
    answers = await chain.rpc.batch([("getnetworkinfo", []), ("getblockchaininfo", [])])
    for answer in answers:
        if isinstance(answer, NodeRefusal):
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
    if isinstance(answer, NodeRefusal) or "feerate" not in answer:
        return -1
    return float(answer["feerate"])
