"""Word that it is time to look: for those who watch a chain and would else wait for their interval to pass."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Self

from airflow_provider_bloq.clients.stream_events import is_block, subscriptions, txid_in
from airflow_provider_bloq.clients.stream_packets import Event
from airflow_provider_bloq.hooks.stream_life import StreamLife

__all__ = ["News"]


class News:
    """Tells when there is reason to look: a new block, or a connection that may have missed one.

    A help and no more. What is looked at and found is decided over REST, and where the stream cannot be reached,
    every wait lasts as long as it may. Use it in ``async with``; it has one connection of its own.

    :param life: Keeps it connected.
    :param addresses: Whose transactions are reason to look as well.
    """

    def __init__(self, life: StreamLife, addresses: tuple[str, ...] = ()) -> None:
        self._life = life
        self._addresses = addresses
        self._stirred = asyncio.Event()
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._opened.enter_async_context(self._life.led(self, subscriptions(self._addresses)))
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._opened.aclose()

    async def wait(self, timeout: float | None) -> bool:
        """Wait for news. What came since the last wait counts, all of it as one.

        :param timeout: Seconds to wait at most; None for ever.
        :return: Whether there were any.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._stirred.wait()
        except TimeoutError:
            return False
        self._stirred.clear()
        return True

    def joined(self) -> None:
        """See :meth:`Listener.joined`."""
        self._stirred.set()

    def heard(self, event: Event) -> None:
        """See :meth:`Listener.heard`."""
        if is_block(event) or txid_in(event) is not None:
            self._stirred.set()
