"""Many who wait for the same moment, woken by and by."""

from __future__ import annotations

import asyncio

__all__ = ["Crowd"]

#: How many are woken before the event loop may turn to others: a thousand who all go to work at once
#: would hold it up.
WOKEN_AT_ONCE = 25


class Crowd:
    """Lets tasks of one event loop wait until it is told that there is news."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait for the next :meth:`wake`."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(woken)
        await woken

    async def wake(self) -> None:
        """Wake all who wait now, in the order in which they came."""
        waiting, self._waiting = self._waiting, []
        for number, woken in enumerate(waiting, start=1):
            # Whoever was cancelled has left its place here behind.
            if not woken.done():
                woken.set_result(None)
            if number % WOKEN_AT_ONCE == 0:
                await asyncio.sleep(0)
