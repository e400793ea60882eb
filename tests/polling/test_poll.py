"""One poll for many waiters: when it polls, for whom, and who gets the result. In virtual time."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from airflow_provider_bloq.connect.stream import ChainUpdates
from airflow_provider_bloq.exceptions import BloqNotFound, BloqRateLimited, BloqUnavailable
from airflow_provider_bloq.polling.poll import MIN_INTERVAL, Poll, PushListener, Subscription
from tests.support.virtual_time import in_virtual_time

pytestmark = pytest.mark.logic


@dataclass
class World:
    """What is looked at: numbers the looks, and notes when each was, and for which interests."""

    #: What happens instead of seeing, by the number of the look.
    errors: Mapping[int, BaseException] = field(default_factory=dict)
    #: How long a look takes, in seconds.
    takes: float = 0.0
    looks: list[tuple[float, frozenset[Hashable]]] = field(default_factory=list)
    interrupted: int = 0

    async def look(self, interests: frozenset[Hashable]) -> int:
        self.looks.append((now(), interests))
        number = len(self.looks)
        try:
            await asyncio.sleep(self.takes)
        except asyncio.CancelledError:
            self.interrupted += 1
            raise
        if number in self.errors:
            raise self.errors[number]
        return number

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.looks]


def now() -> float:
    return asyncio.get_running_loop().time()


async def looks_of(seat: Subscription, count: int) -> list[tuple[float, Any]]:
    """Look so many times; give what was seen and when it came."""
    seen = []
    for _ in range(count):
        looked = await seat.result()
        seen.append((now(), looked))
    return seen


def test_all_who_wait_get_every_look_at_the_shortest_interval_among_them() -> None:
    async def main() -> None:
        world = World()
        poll = Poll(world.look)
        seats = [poll.subscribe(interval) for interval in (30.0, 10.0, 20.0)]
        for seen in await asyncio.gather(*(looks_of(seat, 4) for seat in seats)):
            assert seen == [(0.0, 1), (10.0, 2), (20.0, 3), (30.0, 4)]
        assert world.times == [0.0, 10.0, 20.0, 30.0]
        await poll.stop()

    in_virtual_time(main)


def test_an_interval_begins_when_a_look_has_ended() -> None:
    async def main() -> None:
        world = World(takes=25.0)
        poll = Poll(world.look)
        await looks_of(poll.subscribe(10.0), 3)
        assert world.times == [0.0, 35.0, 70.0]
        await poll.stop()

    in_virtual_time(main)


def test_a_newcomer_in_a_hurry_hastens_the_next_look_and_slows_down_what_it_leaves() -> None:
    async def main() -> None:
        world = World()
        poll = Poll(world.look)
        patient = asyncio.create_task(looks_of(poll.subscribe(100.0), 5))
        await asyncio.sleep(50.0)
        hurried = poll.subscribe(20.0)
        assert [time for time, _ in await looks_of(hurried, 2)] == [50.0, 70.0]
        poll.unsubscribe(hurried)
        assert [time for time, _ in await patient] == [0.0, 50.0, 70.0, 170.0, 270.0]
        await poll.stop()

    in_virtual_time(main)


def test_a_newcomer_gets_the_latest_look_at_once_if_it_is_no_older_than_its_interval() -> None:
    for age, interval, at_once in [(9.0, 9.0, True), (9.0, 8.9, False)]:

        async def main(age: float = age, interval: float = interval, at_once: bool = at_once) -> None:
            world = World()
            poll = Poll(world.look)
            await looks_of(poll.subscribe(1000.0), 1)
            await asyncio.sleep(age)
            assert await looks_of(poll.subscribe(interval), 1) == [(9.0, 1 if at_once else 2)]
            assert len(world.looks) == (1 if at_once else 2)
            await poll.stop()

        in_virtual_time(main)


def test_a_newcomer_waits_for_a_look_that_asks_for_what_it_wants_to_know() -> None:
    async def main() -> None:
        world = World()
        poll = Poll(world.look)
        first = poll.subscribe(10.0, "a")
        assert await looks_of(first, 1) == [(0.0, 1)]
        same, other, any_ = poll.subscribe(10.0, "a"), poll.subscribe(10.0, "b"), poll.subscribe(10.0)
        assert await looks_of(same, 1) == [(0.0, 1)]
        assert await looks_of(any_, 1) == [(0.0, 1)]
        assert await looks_of(other, 1) == [(10.0, 2)]
        assert world.looks == [(0.0, frozenset("a")), (10.0, frozenset("ab"))]
        await poll.stop()

    in_virtual_time(main)


def test_a_look_under_way_serves_who_joins_only_if_it_asks_for_the_newcomer_too() -> None:
    async def main() -> None:
        world = World(takes=4.0)
        poll = Poll(world.look)
        first = asyncio.create_task(looks_of(poll.subscribe(10.0, "a"), 2))
        await asyncio.sleep(1.0)
        any_, other = poll.subscribe(10.0), poll.subscribe(10.0, "b")
        assert await looks_of(any_, 1) == [(4.0, 1)]
        assert await looks_of(other, 1) == [(18.0, 2)]
        assert await first == [(4.0, 1), (18.0, 2)]
        await poll.stop()

    in_virtual_time(main)


def test_a_failure_reaches_everybody_and_the_poll_goes_on() -> None:
    async def main() -> None:
        world = World(errors={2: BloqUnavailable("away")})
        poll = Poll(world.look)
        seats = [poll.subscribe(10.0), poll.subscribe(10.0, "a")]
        await asyncio.gather(*(looks_of(seat, 1) for seat in seats))
        for outcome in await asyncio.gather(*(seat.result() for seat in seats), return_exceptions=True):
            assert isinstance(outcome, BloqUnavailable)
        assert await asyncio.gather(*(seat.result() for seat in seats)) == [3, 3]
        await poll.stop()

    in_virtual_time(main)


def test_each_failure_is_followed_by_a_pause_that_no_newcomer_cuts_short() -> None:
    async def main() -> None:
        world = World(errors={number: BloqUnavailable("away") for number in range(1, 8)})
        poll = Poll(world.look)
        seat = poll.subscribe(MIN_INTERVAL)
        for _ in range(7):
            with pytest.raises(BloqUnavailable):
                await seat.result()
            poll.subscribe(MIN_INTERVAL)
        assert await seat.result() == 8
        pauses = [after - before for before, after in zip(world.times, world.times[1:], strict=False)]
        for number, pause in enumerate(pauses):
            longest = min(60.0, 2.0**number)
            assert longest / 2 <= pause <= longest
        await poll.stop()

    in_virtual_time(main)


def test_after_a_success_pauses_begin_anew() -> None:
    async def main() -> None:
        failing = {number: BloqUnavailable("away") for number in (1, 2, 3, 4, 6)}
        world = World(errors=failing)
        poll = Poll(world.look)
        seat = poll.subscribe(MIN_INTERVAL)
        seen = [await asyncio.gather(seat.result(), return_exceptions=True) for _ in range(7)]
        assert [look for (look,) in seen if isinstance(look, int)] == [5, 7]
        assert world.times[6] - world.times[5] <= 1.0
        await poll.stop()

    in_virtual_time(main)


def test_nothing_is_looked_at_for_nobody() -> None:
    async def main() -> None:
        world = World()
        poll = Poll(world.look)
        seat = poll.subscribe(10.0)
        await seat.result()
        assert not poll.is_over
        poll.unsubscribe(seat)
        await asyncio.sleep(1000.0)
        assert (len(world.looks), poll.is_over, not poll.subscribers) == (1, True, True)
        await poll.stop()

    in_virtual_time(main)


def test_a_pause_is_as_long_as_the_service_asks_for() -> None:
    async def main() -> None:
        world = World(errors={1: BloqRateLimited("slowly", retry_after=300.0)})
        poll = Poll(world.look)
        seat = poll.subscribe(5.0)
        with pytest.raises(BloqRateLimited):
            await seat.result()
        newcomer = poll.subscribe(5.0)
        # The failure is no news to it.
        assert await newcomer.result() == 2
        assert 300.0 <= world.times[1] <= 330.0
        await poll.stop()

    in_virtual_time(main)


class OfAirflow(BaseException):
    """Airflow has errors that are none of Exception."""


def test_an_error_that_cannot_pass_ends_the_poll_for_all_at_once() -> None:
    for error in [BloqNotFound("gone"), ValueError("a bug"), OfAirflow()]:

        async def main(error: BaseException = error) -> None:
            world = World(errors={2: error})
            poll = Poll(world.look)
            seats = [poll.subscribe(10.0) for _ in range(60)]
            await asyncio.gather(*(seat.result() for seat in seats))
            outcomes = await asyncio.gather(*(seat.result() for seat in seats), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {type(error)}
            assert poll.is_over
            # Who asks again is not left waiting.
            with pytest.raises(type(error)):
                await seats[0].result()
            await asyncio.sleep(1000.0)
            assert len(world.looks) == 2
            await poll.stop()

        in_virtual_time(main)


def test_an_error_that_is_told_to_many_does_not_grow() -> None:
    async def main() -> None:
        world = World(errors={1: BloqUnavailable("away")})
        poll = Poll(world.look)
        seats = [poll.subscribe(10.0) for _ in range(50)]
        outcomes = await asyncio.gather(*(seat.result() for seat in seats), return_exceptions=True)
        for outcome in outcomes:
            assert isinstance(outcome, BloqUnavailable)
            assert len(traceback.extract_tb(outcome.__traceback__)) <= 3
        await poll.stop()

    in_virtual_time(main)


def test_the_end_interrupts_a_look() -> None:
    async def main() -> None:
        world = World(takes=1000.0)
        poll = Poll(world.look)
        poll.subscribe(10.0)
        await asyncio.sleep(1.0)
        await poll.stop()
        assert (now(), world.interrupted) == (1.0, 1)

    in_virtual_time(main)


def test_who_is_slow_misses_looks_but_is_never_left_without() -> None:
    async def main() -> None:
        world = World()
        poll = Poll(world.look)
        seat = poll.subscribe(10.0)
        seen = []
        for _ in range(3):
            seen.append(await seat.result())
            await asyncio.sleep(26.0)
        assert seen == [1, 3, 6]
        await poll.stop()

    in_virtual_time(main)


def test_others_have_their_turn_while_a_thousand_are_woken() -> None:
    async def main() -> None:
        world = World()
        poll = Poll(world.look)
        woken: list[int] = []

        async def wait(seat: Subscription, number: int) -> None:
            await seat.result()
            woken.append(number)

        waiters = [asyncio.create_task(wait(poll.subscribe(10.0), number)) for number in range(1000)]
        most_at_once, before = 0, 0
        while not all(waiter.done() for waiter in waiters):
            await asyncio.sleep(0)
            most_at_once, before = max(most_at_once, len(woken) - before), len(woken)
        assert woken == list(range(1000))
        assert most_at_once <= 50
        await poll.stop()

    in_virtual_time(main)


def test_an_interval_of_nothing_is_no_busy_loop() -> None:
    async def main() -> None:
        world = World()
        poll = Poll(world.look)
        await looks_of(poll.subscribe(0.0), 3)
        assert world.times == pytest.approx([0.0, MIN_INTERVAL, 2 * MIN_INTERVAL])
        await poll.stop()

    in_virtual_time(main)


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
