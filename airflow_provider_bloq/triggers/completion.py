"""Work that goes on although whoever asked for it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["to_the_end"]

T = TypeVar("T")

#: The event loop itself holds its tasks weakly.
_under_way: set[asyncio.Task[Any]] = set()


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await work that is finished in any case, such as the closing of what was opened.

    :param work: What to do.
    :return: What it returns.
    """
    task = asyncio.create_task(work)
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    # Not asyncio.shield: were this call cancelled, that would report the task's error as never retrieved.
    await asyncio.wait([task])
    return task.result()
