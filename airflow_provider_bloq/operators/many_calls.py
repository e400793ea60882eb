"""Many calls of one node, in batches, several at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.exceptions import BloqRpcError

if TYPE_CHECKING:
    from airflow_provider_bloq.clients.jsonrpc import AsyncRpcClient, RpcCall

__all__ = ["outcomes_of_all"]


async def outcomes_of_all(
    rpc: AsyncRpcClient,
    calls: Sequence[RpcCall],
    *,
    batch_size: int,
    concurrency: int,
    repeatable: bool | None,
    pick: Callable[[Any], Any],
    tell: Callable[[int, int], None],
) -> list[Any]:
    """Make the calls.

    :param rpc: Whom to call.
    :param calls: The calls.
    :param batch_size: Calls in one request, at most.
    :param concurrency: Requests under way at a time, at most.
    :param repeatable: Whether they may be sent again where an answer was lost; None if their methods tell.
    :param pick: What is taken of each result.
    :param tell: Is told how many calls are done, and of how many, about ten times.
    :return: For each call, in its place, what was taken of its result, or the error that it got.
    :raises Exception: A request failed as a whole, or ``pick`` did. Nothing more is sent then.
    """
    outcomes: list[Any] = [None] * len(calls)
    starts = iter(range(0, len(calls), batch_size))
    progress = _Progress(len(calls), tell)

    async def work() -> None:
        for start in starts:
            batch = calls[start : start + batch_size]
            answers = await rpc.batch(batch, limit=batch_size, return_errors=True, repeatable=repeatable)
            outcomes[start : start + len(batch)] = [_picked(answer, pick) for answer in answers]
            progress.add(len(batch))

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(concurrency, -(-len(calls) // batch_size))):
                workers.create_task(work())
    except BaseExceptionGroup as failed:
        # What made the others be cancelled. Airflow decides on a retry by its class.
        raise failed.exceptions[0] from None
    return outcomes


def _picked(answer: Any, pick: Callable[[Any], Any]) -> Any:
    return answer if isinstance(answer, BloqRpcError) else pick(answer)


class _Progress:
    """Tells of each tenth that is done."""

    def __init__(self, total: int, tell: Callable[[int, int], None]) -> None:
        self._total = total
        self._tell = tell
        self._done = 0

    def add(self, calls: int) -> None:
        tenths_before = self._done * 10 // self._total
        self._done += calls
        if self._done * 10 // self._total > tenths_before:
            self._tell(self._done, self._total)
