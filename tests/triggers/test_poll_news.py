"""A poll that is told of news: it looks soon, never more often than is bearable, and without news at its interval."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from airflow_provider_bloq.connect.stream import ChainUpdates
from airflow_provider_bloq.exceptions import BloqRateLimited
from airflow_provider_bloq.polling.poll import MIN_INTERVAL, Poll, PushListener
from tests.support.virtual_time import in_virtual_time
from tests.triggers.test_poll import World, looks_of


class Announcements:
    """News in the hands of a test.

    :param failure: What goes wrong when they are waited for.
    """

    def __init__(self, failure: Exception | None = None) -> None:
        self.came = asyncio.Event()
        self.states: list[str] = []
        self._failure = failure

    async def __aenter__(self) -> Announcements:
        self.states.append("opened")
        return self

    async def __aexit__(self, *failure: Any) -> None:
        self.states.append("closed")

    async def wait(self, timeout: float | None) -> bool:
        assert timeout is None
        if self._failure is not None:
            raise self._failure
        await self.came.wait()
        self.came.clear()
        return True


def heeding(announcements: Announcements, poll: Poll) -> PushListener:
    return PushListener(cast("ChainUpdates", announcements), poll)


def test_news_are_looked_at_at_once_and_the_interval_begins_anew() -> None:
    async def main() -> None:
        world, news = World(), Announcements()
        poll = Poll(world.look)
        listening = heeding(news, poll)
        looks = asyncio.create_task(looks_of(poll.subscribe(100.0), 3))
        await asyncio.sleep(30.0)
        news.came.set()
        await looks
        assert world.times == [0.0, 30.0, 130.0]
        assert news.states == ["opened"]
        await listening.stop()
        assert news.states == ["opened", "closed"]
        await poll.stop()

    in_virtual_time(main)


def test_news_during_a_look_lead_to_another_one() -> None:
    async def main() -> None:
        world = World(takes=10.0)
        poll = Poll(world.look)
        looks = asyncio.create_task(looks_of(poll.subscribe(100.0), 3))
        await asyncio.sleep(5.0)
        poll.poll_soon()
        poll.poll_soon()
        await looks
        assert world.times == [0.0, 10.0 + MIN_INTERVAL, 120.0 + MIN_INTERVAL]
        await poll.stop()

    in_virtual_time(main)


def test_a_pause_after_a_failure_is_not_cut_short_by_news() -> None:
    async def main() -> None:
        world = World(errors={1: BloqRateLimited("too many", retry_after=50.0)})
        poll = Poll(world.look)
        seat = poll.subscribe(1.0)
        try:
            await seat.result()
        except BloqRateLimited:
            poll.poll_soon()
        await seat.result()
        assert world.times[1] >= 50.0
        await poll.stop()

    in_virtual_time(main)


def test_where_news_fail_the_intervals_go_on() -> None:
    async def main() -> None:
        world = World()
        poll = Poll(world.look)
        listening = heeding(Announcements(RuntimeError("a mistake")), poll)
        await looks_of(poll.subscribe(10.0), 3)
        assert world.times == [0.0, 10.0, 20.0]
        await listening.stop()
        await poll.stop()

    in_virtual_time(main)
