"""What is announced need not be waited for: a poll that looks as soon as it hears that there is something."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
    from airflow_provider_bloq.hooks.stream_news import News
    from airflow_provider_bloq.triggers.poll import Poll

__all__ = ["Announced", "Heeding"]

log = logging.getLogger(__name__)


class Announced(ABC):
    """A target of which news are announced. What there is, only a look tells; the news only say when."""

    __slots__ = ()

    @abstractmethod
    def news(self, hook: BloqAsyncHook) -> News | None:
        """Return what announces them, not opened yet; None if nothing should.

        :param hook: The hook by which the target is looked at.
        """


class Heeding:
    """Has a poll look whenever there are news, besides its intervals; from now until :meth:`end`.

    :param news: What announces them.
    :param poll: The poll.
    """

    def __init__(self, news: News, poll: Poll) -> None:
        self._news = news
        self._poll = poll
        self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Listen no more."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            async with self._news:
                while True:
                    await self._news.wait(None)
                    self._poll.hasten()
        except Exception:
            # Nothing depends on news alone: the poll goes on at its interval.
            log.exception("News are not heard any more: what is new is seen at the next interval.")
