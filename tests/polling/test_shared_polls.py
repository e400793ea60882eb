"""Which waiters share a poll and a connection, and that nothing is left when they go. In virtual time."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from airflow_provider_bloq.connection.settings import BloqSettings
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqNotFound, BloqUnavailable
from airflow_provider_bloq.flow.async_driver import AsyncDriver
from airflow_provider_bloq.flow.effects import Flow, sleep
from airflow_provider_bloq.polling.conditions import PollFunction, Reader, Target
from airflow_provider_bloq.polling.shared_polls import MAX_SETTINGS_AGE, Polls, shared_polls
from tests.support.drivers import awaiting_driver
from tests.support.virtual_time import VirtualTimeLoop, in_virtual_time


@dataclass
class World:
    """Connections that can be opened, and what is seen through them; notes what was done and when."""

    #: What happens instead of an opening, by its number.
    errors: dict[int, BaseException] = field(default_factory=dict)
    #: What happens instead of a look, by its number.
    look_errors: dict[int, Exception] = field(default_factory=dict)
    opening_takes: float = 1.0
    look_takes: float = 0.0
    #: How long a look that is interrupted takes to end.
    stopping_takes: float = 0.0
    #: The credential of each connection; ``same`` unless another is given.
    credentials: dict[str, str] = field(default_factory=dict)
    #: The timeout of each connection: a setting that has a part in each request.
    timeouts: dict[str, float] = field(default_factory=dict)
    opened: list[tuple[float, str]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    looks: list[tuple[float, str, frozenset[Hashable]]] = field(default_factory=list)

    async def open(self, conn_id: str) -> Any:
        self.opened.append((asyncio.get_running_loop().time(), conn_id))
        number = len(self.opened)
        await asyncio.sleep(self.opening_takes)
        if number in self.errors:
            raise self.errors[number]
        return ScriptedHook(conn_id, self)

    def look(self, conn_id: str, interests: frozenset[Hashable]) -> Flow[int]:
        self.looks.append((asyncio.get_running_loop().time(), conn_id, interests))
        number = len(self.looks)
        yield from sleep(self.look_takes)
        if number in self.look_errors:
            raise self.look_errors[number]
        return number


class ScriptedHook:
    """Stands for ``BloqAsyncHook``: opened already, and without a service behind it."""

    def __init__(self, conn_id: str, world: World) -> None:
        settings = BloqSettings.parse(conn_id, None, None, "id", "a-client-secret", {})
        self.settings = replace(settings, timeout=world.timeouts.get(conn_id, 30.0))
        self.credential_key = world.credentials.get(conn_id, "same")
        self.world = world
        self.conn_id = conn_id
        self._driver: AsyncDriver = awaiting_driver()

    async def run(self, flow: Flow[Any]) -> Any:
        try:
            return await self._driver.run(flow)
        except asyncio.CancelledError:
            await asyncio.sleep(self.world.stopping_takes)
            raise

    async def __aexit__(self, *failure: object) -> None:
        await asyncio.sleep(1.0)
        self.world.closed.append(self.conn_id)


@dataclass(frozen=True)
class Thing(Target):
    """Something to watch."""

    name: str = "thing"

    def poll_with(self, reader: Reader) -> PollFunction:
        hook: Any = reader
        return lambda interests: hook.world.look(hook.conn_id, interests)


@dataclass
class Waiter:
    """Watches, and keeps what it saw."""

    polls: Polls
    conn_id: str = "bloq_default"
    target: Target = field(default_factory=Thing)
    interval: float = 10.0
    interest: Hashable | None = None
    seen: list[Any] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def start(self, looks: int = 1_000_000) -> asyncio.Task[None]:
        return asyncio.create_task(self.wait(looks))

    async def wait(self, looks: int) -> None:
        async with self.polls.subscribe(
            self.conn_id, self.target, interval=self.interval, interest=self.interest
        ) as handle:
            for _ in range(looks):
                try:
                    self.seen.append(await handle.result())
                except asyncio.CancelledError:
                    raise
                except BaseException as error:
                    self.failures.append(error)


async def stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_thousand_waiters_are_one_poll_and_one_reading_of_the_connection() -> None:
    async def main() -> None:
        world = World()
        polls = Polls(world.open)
        waiters = [Waiter(polls) for _ in range(1000)]
        tasks = [waiter.start(3) for waiter in waiters]
        await asyncio.gather(*tasks)
        assert [waiter.seen for waiter in waiters] == [[1, 2, 3]] * 1000
        assert world.opened == [(0.0, "bloq_default")]
        assert [time for time, *_ in world.looks] == [1.0, 11.0, 21.0]
        assert world.closed == ["bloq_default"]
        assert polls.is_idle

    in_virtual_time(main)


def test_what_is_watched_through_one_connection_shares_its_reading() -> None:
    async def main() -> None:
        world = World()
        polls = Polls(world.open)
        tasks = [Waiter(polls, target=Thing(str(number))).start(2) for number in range(20)]
        await asyncio.gather(*tasks)
        assert len(world.opened) == 1
        assert len(world.looks) == 40
        assert polls.is_idle

    in_virtual_time(main)


def test_two_connections_to_one_account_share_a_poll_whoever_leaves_first() -> None:
    async def main() -> None:
        world = World()
        polls = Polls(world.open)
        first, second = Waiter(polls, "one"), Waiter(polls, "two")
        of_first = first.start()
        await asyncio.sleep(2.0)
        of_second = second.start()
        await asyncio.sleep(2.0)
        assert (len(polls), len(world.looks), second.seen) == (1, 1, [1])
        # The poll goes on through the connection it began with, which stays open for that.
        await stop(of_first)
        assert world.closed == []
        await asyncio.sleep(10.0)
        assert second.seen == [1, 2]
        assert {conn_id for _, conn_id, _ in world.looks} == {"one"}
        await stop(of_second)
        assert sorted(world.closed) == ["one", "two"]
        assert polls.is_idle

    in_virtual_time(main)


@pytest.mark.parametrize(
    "differing",
    [World(credentials={"two": "another"}), World(timeouts={"two": 5.0})],
    ids=["credential", "setting"],
)
def test_connections_that_differ_do_not_share(differing: World) -> None:
    async def main() -> None:
        polls = Polls(differing.open)
        tasks = [Waiter(polls, conn_id).start() for conn_id in ("one", "two")]
        await asyncio.sleep(5.0)
        assert len(polls) == 2
        assert {conn_id for _, conn_id, _ in differing.looks} == {"one", "two"}
        await stop(*tasks)
        assert polls.is_idle

    in_virtual_time(main)


@pytest.mark.parametrize("after", [0.0, 0.5, 1.5, 5.0, 11.5], ids=lambda after: f"after {after:g} s")
def test_cancelling_whoever_began_it_disturbs_nobody(after: float) -> None:
    async def main() -> None:
        world = World(look_takes=1.0)
        polls = Polls(world.open)
        first, others = Waiter(polls), [Waiter(polls) for _ in range(5)]
        task = first.start()
        tasks = [other.start(2) for other in others]
        await asyncio.sleep(after)
        await stop(task)
        await asyncio.gather(*tasks)
        assert [other.seen for other in others] == [[1, 2]] * 5
        assert [other.failures for other in others] == [[]] * 5
        assert len(world.opened) == 1
        assert polls.is_idle

    in_virtual_time(main)


def test_cancelling_everybody_while_the_connection_is_read_leaves_nothing() -> None:
    async def main() -> None:
        world = World(opening_takes=1000.0)
        polls = Polls(world.open)
        tasks = [Waiter(polls).start() for _ in range(5)]
        await asyncio.sleep(1.0)
        await stop(*tasks)
        assert asyncio.get_running_loop().time() == 1.0
        assert polls.is_idle

    in_virtual_time(main)


def test_a_connection_that_was_just_read_is_closed_though_nobody_came_to_see_it() -> None:
    async def main() -> None:
        world = World()
        polls = Polls(world.open)
        task = Waiter(polls).start()
        await asyncio.sleep(0)

        def cancel() -> None:
            task.cancel()

        # At the very time at which it is open, and before the waiter is woken.
        asyncio.get_running_loop().call_at(1.0, cancel)
        await asyncio.wait([task])
        assert len(world.opened) == len(world.closed)
        assert polls.is_idle

    in_virtual_time(main)


@pytest.mark.parametrize(
    "world",
    [World(), World(look_takes=1000.0, stopping_takes=1.0)],
    ids=["while the connection is closed", "while a look is stopped"],
)
def test_leaving_goes_on_though_it_is_interrupted(world: World) -> None:
    async def main() -> None:
        polls = Polls(world.open)
        task = Waiter(polls).start()
        await asyncio.sleep(5.0)
        task.cancel()
        await asyncio.sleep(0.5)
        # In the midst of what takes a second.
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(5.0)
        assert world.closed == ["bloq_default"]
        assert polls.is_idle

    in_virtual_time(main)


def test_a_failed_reading_reaches_everybody_and_is_repeated_once_for_all() -> None:
    async def main() -> None:
        world = World(errors={1: BloqUnavailable("away"), 2: BloqUnavailable("away")})
        polls = Polls(world.open)
        waiters = [Waiter(polls) for _ in range(100)]
        await asyncio.gather(*(waiter.start(3) for waiter in waiters))
        for waiter in waiters:
            assert [type(error) for error in waiter.failures] == [BloqUnavailable] * 2
            assert waiter.seen == [1]
            # Not the frames of all who raised it before.
            assert all(len(traceback.extract_tb(error.__traceback__)) <= 4 for error in waiter.failures)
        (first, _), (second, _), (third, _) = world.opened
        assert 0.5 <= second - first - 1.0 <= 1.0 <= third - second - 1.0 <= 2.0
        assert polls.is_idle

    in_virtual_time(main)


class OfAirflow(BaseException):
    """Airflow has errors that are none of Exception."""


def test_whatever_a_reading_ends_with_nobody_is_left_waiting() -> None:
    async def main() -> None:
        error = OfAirflow()
        polls = Polls(World(errors={1: error}).open)
        waiters = [Waiter(polls) for _ in range(3)]
        await asyncio.gather(*(waiter.start(1) for waiter in waiters))
        assert [waiter.failures for waiter in waiters] == [[error]] * 3
        assert polls.is_idle

    in_virtual_time(main)


def test_a_connection_that_is_wrong_is_read_anew_by_who_comes_later() -> None:
    async def main() -> None:
        wrong = BloqConfigurationError.of("host", "it is none", "Correct it.")
        world = World(errors={1: wrong})
        polls = Polls(world.open)
        early = Waiter(polls)
        # Stays on, as a trigger does for a moment that has still to say what happened.
        task = early.start(1)
        stays = asyncio.create_task(_linger(polls))
        await asyncio.wait([task])
        assert early.failures == [wrong]
        late = Waiter(polls)
        await late.start(1)
        assert late.seen == [1]
        await stop(stays)
        assert polls.is_idle

    in_virtual_time(main)


async def _linger(polls: Polls) -> None:
    async with polls.subscribe("bloq_default", Thing(), interval=10.0) as handle:
        with pytest.raises(BloqConfigurationError):
            await handle.result()
        await asyncio.sleep(1000.0)


def test_after_an_error_for_good_newcomers_begin_anew_though_others_are_still_there() -> None:
    async def main() -> None:
        world = World(look_errors={2: BloqNotFound("gone")})
        polls = Polls(world.open)

        async def linger() -> None:
            async with polls.subscribe("bloq_default", Thing(), interval=10.0) as handle:
                assert await handle.result() == 1
                with pytest.raises(BloqNotFound):
                    await handle.result()
                failed.set()
                await asyncio.sleep(1000.0)

        failed = asyncio.Event()
        lingering = [asyncio.create_task(linger()) for _ in range(3)]
        await failed.wait()
        late = Waiter(polls)
        await late.start(1)
        assert late.seen == [3]
        # The connection may have been the mistake.
        assert len(world.opened) == 2
        await stop(*lingering)
        assert polls.is_idle

    in_virtual_time(main)


def test_newcomers_learn_of_a_changed_connection_though_others_wait_on() -> None:
    async def main() -> None:
        world = World()
        polls = Polls(world.open)
        old = Waiter(polls)
        of_old = old.start()
        await asyncio.sleep(MAX_SETTINGS_AGE)
        await Waiter(polls).start(1)
        assert len(world.opened) == 1
        await asyncio.sleep(MAX_SETTINGS_AGE)
        world.credentials["bloq_default"] = "another"
        await Waiter(polls).start(1)
        assert len(world.opened) == 2
        seen = len(old.seen)
        await asyncio.sleep(20.0)
        assert len(old.seen) == seen + 2
        await stop(of_old)
        assert len(world.closed) == 2
        assert polls.is_idle

    in_virtual_time(main)


def test_the_interests_of_all_who_wait_go_into_one_look() -> None:
    async def main() -> None:
        world = World()
        polls = Polls(world.open)
        await asyncio.gather(*(Waiter(polls, interest=number).start(1) for number in range(60)))
        assert [interests for *_, interests in world.looks] == [frozenset(range(60))]

    in_virtual_time(main)


def test_each_event_loop_has_polls_of_its_own_and_takes_them_along() -> None:
    def polls_of(run: Callable[[Any], Any]) -> Polls:
        async def main() -> Polls:
            assert shared_polls() is shared_polls()
            return shared_polls()

        polls: Polls = run(main())
        return polls

    loops = [VirtualTimeLoop() for _ in range(3)]
    found = [polls_of(loop.run_until_complete) for loop in loops]
    assert len(set(map(id, found))) == 3
    for loop in loops:
        loop.close()


def test_a_loop_that_was_closed_with_waiters_on_it_holds_up_no_other() -> None:
    world = World()

    async def abandon() -> None:
        polls = Polls(world.open)
        waiters.append(Waiter(polls).start())
        await asyncio.sleep(5.0)

    waiters: list[asyncio.Task[None]] = []
    # As asyncio.run does it: what still runs is cancelled, and all of it ends.
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(abandon())
    assert waiters[0].cancelled()
    assert world.closed == ["bloq_default"]


#: Opens a hook in a fresh interpreter; prints which of the large libraries its event loop had to load itself.
SCRIPT = """
import asyncio, json, sys, threading

from airflow_provider_bloq.polling.shared_polls import open_hook

LARGE = {"aiohttp", "requests", "urllib3"}
assert not LARGE & set(sys.modules)
loaded = {}

def note(event, arguments):
    if event == "import" and arguments[0] in LARGE:
        loaded.setdefault(arguments[0], threading.current_thread() is threading.main_thread())

async def main():
    hook = await open_hook("bloq_default")
    await hook.__aexit__(None, None, None)

sys.addaudithook(note)
asyncio.run(main())
assert loaded.keys() >= {"aiohttp", "requests"}, loaded
print(json.dumps(sorted(name for name, on_loop in loaded.items() if on_loop)))
"""


def test_libraries_are_loaded_in_a_thread() -> None:
    connection = {"conn_type": "bloq", "login": "client-id", "password": "a-client-secret"}
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "AIRFLOW_CONN_BLOQ_DEFAULT": json.dumps(connection)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == []
