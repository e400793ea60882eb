"""Blocking calls from an event loop, in threads from which Airflow's blocking functions still find that loop.

Separate from the drivers because it is needed before any HTTP library is loaded.
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
    """Make a blocking call in a thread. Unlike :func:`asyncio.to_thread`, the thread is one of asgiref.

    If the call asks Airflow for something, such as a connection, the triggerer of Airflow 3.1 sends the request from
    the event loop that owns its sockets. It finds that loop only from threads of asgiref; from any other thread it
    would leave a response unread, and all later triggers would get wrong responses.

    :param call: The call. A caller that is cancelled does not wait for it to end.
    """
    from asgiref.sync import sync_to_async

    async def called() -> T:
        return await sync_to_async(call, thread_sensitive=False)()

    task = asyncio.create_task(called())
    # If nobody waits any more, nobody retrieves the error either.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(task)
