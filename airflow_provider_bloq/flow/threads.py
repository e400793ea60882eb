"""Blocking calls beside an event loop, in threads from which Airflow's blocking functions still find that loop.

Apart from the drivers, since it is needed before any HTTP library is loaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = [
    "in_thread",
]

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """Make a blocking call in a thread; as :func:`asyncio.to_thread`, with one difference.

    What the call asks of Airflow, such as a connection, the triggerer of Airflow 3.1 sends from the event loop on
    which its sockets live. It finds that loop only from threads of asgiref; from any other it would leave an answer
    unread, and all triggers after it would get the wrong ones.

    :param call: The call. A caller that is cancelled does not wait for its end.
    """
    from asgiref.sync import sync_to_async

    async def called() -> T:
        return await sync_to_async(call, thread_sensitive=False)()

    task = asyncio.create_task(called())
    # Of a call that nobody waits for any more nobody asks for the failure either.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(task)
