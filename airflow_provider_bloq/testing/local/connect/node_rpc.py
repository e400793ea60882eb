"""JSON-RPC to the Bitcoin node behind Connect; its amounts are read exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import aiohttp

from airflow_provider_bloq.testing.local.problems import ApiProblem

__all__ = ["Call", "NodeRefusal", "NodeRpc"]

#: The name of a method and its parameters.
Call = tuple[str, list[Any]]

#: Calls in one request. More of them do not make it faster, and their answers have to fit into memory.
_BATCH = 50


class NodeRefusal(Exception):
    """The node answers a call with an error.

    :param code: The node's code, such as -26.
    :param message: The node's reason.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NodeRpc:
    """Calls one node.

    :param url: Its address, with user and password.
    :param session: Sends the calls.
    """

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def call(self, method: str, *params: Any) -> Any:
        """Call a method and return its result.

        :raises NodeRefusal: The node answered with an error.
        :raises ApiProblem: It does not answer (502).
        """
        (answer,) = await self.batch([(method, list(params))])
        if isinstance(answer, NodeRefusal):
            raise answer
        return answer

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Call many methods; in place of a result that is not to be had stands a :class:`NodeRefusal`.

        :raises ApiProblem: The node does not answer (502).
        """
        answers: list[Any] = []
        for start in range(0, len(calls), _BATCH):
            answers += await self._sent(calls[start : start + _BATCH])
        return answers

    async def _sent(self, calls: Sequence[Call]) -> list[Any]:
        body = [{"id": number, "method": call[0], "params": call[1]} for number, call in enumerate(calls)]
        try:
            async with self._session.post(self._url, json=body) as answer:
                told = json.loads(await answer.text(), parse_float=Decimal)
        except (aiohttp.ClientError, ValueError) as error:
            raise ApiProblem(502, "ChainFailed", "The node behind Connect does not answer") from error
        return list(_results(told, len(calls)))


def _results(told: Any, expected: int) -> Iterator[Any]:
    by_number = {one["id"]: one for one in told} if isinstance(told, list) else {}
    for number in range(expected):
        one = by_number.get(number)
        if one is None:
            raise ApiProblem(502, "ChainFailed", "The node behind Connect leaves a call unanswered")
        error = one.get("error")
        yield one["result"] if error is None else NodeRefusal(error["code"], error["message"])
