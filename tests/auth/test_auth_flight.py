"""Single flight: however many come at once, one renews, and nobody is left waiting."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_bloq.auth.flight import SingleFlight
from airflow_provider_bloq.auth.flow import Flow, Lead
from airflow_provider_bloq.auth.ladder import TokenProvider
from airflow_provider_bloq.auth.token import AccessToken
from airflow_provider_bloq.exceptions import BloqUnavailable
from tests.support.drivers import awaiting_driver, blocking_driver
from tests.support.gated_endpoint import LONGEST, GatedEndpoint
from tests.support.signing import FixedKeys


class Clock:
    """Monotonic time, set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def endpoint() -> GatedEndpoint:
    return GatedEndpoint()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(endpoint: GatedEndpoint, clock: Clock) -> TokenProvider:
    return TokenProvider(endpoint, FixedKeys(), clock=clock)


@pytest.fixture
def expired(endpoint: GatedEndpoint, provider: TokenProvider, clock: Clock) -> TokenProvider:
    """A provider that holds a dead token and a refresh token, with the gate shut again."""
    endpoint.holdup.released.set()
    blocking_driver().run(provider.token())
    endpoint.holdup.released.clear()
    endpoint.holdup.entered.clear()
    clock.now += 4000
    return provider


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(80) as pool:
        yield pool


class OtherLoop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def start(self, flow: Callable[[], Coroutine[Any, Any, Any]]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(flow(), self.loop)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    def close(self) -> None:
        """Stop it as ``asyncio.run`` does: what still runs is cancelled."""
        if self.thread.is_alive():
            self.stop()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
            self.loop.run_until_complete(asyncio.wait([task]))
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


@pytest.fixture
def other_loop(endpoint: GatedEndpoint) -> Iterator[OtherLoop]:
    other = OtherLoop()
    yield other
    endpoint.holdup.released.set()
    other.close()


def _secrets(tokens: list[AccessToken]) -> set[str]:
    return {token.secret.reveal() for token in tokens}


def test_64_threads_that_find_an_expired_token_cause_one_refresh(
    endpoint: GatedEndpoint, expired: TokenProvider, pool: ThreadPoolExecutor
) -> None:
    driver, together = blocking_driver(), threading.Barrier(65)

    def ask() -> AccessToken:
        together.wait(LONGEST)
        return driver.run(expired.token())

    asked = [pool.submit(ask) for _ in range(64)]
    together.wait(LONGEST)
    assert endpoint.holdup.entered.wait(LONGEST)
    endpoint.holdup.released.set()
    tokens = [future.result(LONGEST) for future in asked]
    assert (endpoint.mints, endpoint.refreshes) == (1, 1)
    assert len(_secrets(tokens)) == 1


async def test_500_coroutines_that_find_an_expired_token_cause_one_refresh(
    endpoint: GatedEndpoint, expired: TokenProvider
) -> None:
    driver = awaiting_driver()
    asked = [asyncio.create_task(driver.run(expired.token())) for _ in range(500)]
    await asyncio.to_thread(endpoint.holdup.entered.wait, LONGEST)
    endpoint.holdup.released.set()
    tokens = await asyncio.gather(*asked)
    assert (endpoint.mints, endpoint.refreshes) == (1, 1)
    assert len(_secrets(tokens)) == 1


@pytest.mark.parametrize("leader", ["thread", "task"])
async def test_threads_and_tasks_of_two_loops_share_one_refresh(
    endpoint: GatedEndpoint,
    expired: TokenProvider,
    pool: ThreadPoolExecutor,
    other_loop: OtherLoop,
    leader: str,
) -> None:
    blocking, awaiting = blocking_driver(), awaiting_driver()
    tasks = [asyncio.create_task(awaiting.run(expired.token()))] if leader == "task" else []
    threads = [pool.submit(lambda: blocking.run(expired.token()))] if leader == "thread" else []
    await asyncio.to_thread(endpoint.holdup.entered.wait, LONGEST)
    threads += [pool.submit(lambda: blocking.run(expired.token())) for _ in range(20)]
    tasks += [asyncio.create_task(awaiting.run(expired.token())) for _ in range(20)]
    far = [other_loop.start(lambda: awaiting_driver().run(expired.token())) for _ in range(20)]
    endpoint.holdup.released.set()
    tokens = await asyncio.gather(*tasks, *map(asyncio.wrap_future, [*threads, *far]))
    assert (endpoint.mints, endpoint.refreshes) == (1, 1)
    assert len(_secrets(tokens)) == 1


def test_an_early_renewal_keeps_nobody_waiting(
    endpoint: GatedEndpoint, expired: TokenProvider, pool: ThreadPoolExecutor, clock: Clock
) -> None:
    clock.now = 3500.0
    driver = blocking_driver()
    leader = pool.submit(lambda: driver.run(expired.token()))
    assert endpoint.holdup.entered.wait(LONGEST)
    old = driver.run(expired.token())
    endpoint.holdup.released.set()
    assert leader.result(LONGEST).secret != old.secret
    assert endpoint.refreshes == 1


async def test_a_cancelled_leader_takes_the_token_from_nobody(
    endpoint: GatedEndpoint, expired: TokenProvider
) -> None:
    driver = awaiting_driver()
    leader = asyncio.create_task(driver.run(expired.token()))
    followers = [asyncio.create_task(driver.run(expired.token())) for _ in range(3)]
    await asyncio.to_thread(endpoint.holdup.entered.wait, LONGEST)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    endpoint.holdup.released.set()
    assert len(_secrets(await asyncio.gather(*followers))) == 1
    assert endpoint.refreshes == 1


async def test_a_cancelled_follower_leaves_the_flight_alone(
    endpoint: GatedEndpoint, expired: TokenProvider
) -> None:
    driver = awaiting_driver()
    leader, follower = (asyncio.create_task(driver.run(expired.token())) for _ in range(2))
    await asyncio.to_thread(endpoint.holdup.entered.wait, LONGEST)
    follower.cancel()
    with pytest.raises(asyncio.CancelledError):
        await follower
    endpoint.holdup.released.set()
    assert (await leader).secret
    assert endpoint.refreshes == 1


class TaskTimeout(BaseException):
    """As Airflow's: no Exception."""


def test_when_a_leader_is_killed_another_leads(
    endpoint: GatedEndpoint, expired: TokenProvider, pool: ThreadPoolExecutor
) -> None:
    endpoint.holdup.failure = TaskTimeout()
    driver = blocking_driver()
    leader = pool.submit(lambda: driver.run(expired.token()))
    assert endpoint.holdup.entered.wait(LONGEST)
    followers = [pool.submit(lambda: driver.run(expired.token())) for _ in range(10)]
    endpoint.holdup.released.set()
    with pytest.raises(TaskTimeout):
        leader.result(LONGEST)
    assert len(_secrets([follower.result(LONGEST) for follower in followers])) == 1
    assert endpoint.refreshes == 1


def test_a_leader_that_is_killed_before_it_took_off_leaves_no_flight_behind() -> None:
    flight: SingleFlight[int] = SingleFlight()

    def renewal() -> Flow[int]:
        yield from ()
        return 7

    grounded = flight.join(renewal)
    assert isinstance(grounded.send(None), Lead)
    assert flight.in_air
    grounded.close()
    assert not flight.in_air
    assert blocking_driver().run(flight.join(renewal)) == 7


def test_every_waiter_gets_the_leader_s_error_and_the_next_call_tries_anew(
    endpoint: GatedEndpoint, expired: TokenProvider, pool: ThreadPoolExecutor
) -> None:
    endpoint.holdup.failure = BloqUnavailable("Accounts is away")
    driver = blocking_driver()
    leader = pool.submit(lambda: driver.run(expired.token()))
    assert endpoint.holdup.entered.wait(LONGEST)
    followers = [pool.submit(lambda: driver.run(expired.token())) for _ in range(5)]
    # They wait for the one under way once they are on its ticket.
    while sum(worker.running() for worker in followers) < 5:
        threading.Event().wait(0.01)
    endpoint.holdup.released.set()
    for future in (leader, *followers):
        error = future.exception(LONGEST)
        assert error is None or isinstance(error, BloqUnavailable)
    assert isinstance(leader.exception(), BloqUnavailable)
    assert driver.run(expired.token()).secret


async def test_tasks_that_wait_get_the_leader_s_error(
    endpoint: GatedEndpoint, expired: TokenProvider
) -> None:
    endpoint.holdup.failure = BloqUnavailable("Accounts is away")
    driver = awaiting_driver()
    asked = [asyncio.create_task(driver.run(expired.token())) for _ in range(10)]
    await asyncio.to_thread(endpoint.holdup.entered.wait, LONGEST)
    endpoint.holdup.released.set()
    errors = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(error, BloqUnavailable) for error in errors)
    assert endpoint.refreshes == 0


@pytest.mark.parametrize("end", ["stop", "close"])
def test_when_the_leader_s_loop_ends_a_waiting_thread_leads(
    endpoint: GatedEndpoint, expired: TokenProvider, pool: ThreadPoolExecutor, end: str
) -> None:
    other = OtherLoop()
    other.start(lambda: awaiting_driver().run(expired.token()))
    assert endpoint.holdup.entered.wait(LONGEST)
    waiting = pool.submit(lambda: blocking_driver().run(expired.token()))
    other.stop()
    endpoint.holdup.released.set()
    if end == "close":
        other.close()
    assert waiting.result(LONGEST).secret
    assert blocking_driver().run(expired.token()).secret
    if end == "stop":
        other.close()


async def test_when_the_leader_s_loop_ends_a_waiting_task_leads(
    endpoint: GatedEndpoint, expired: TokenProvider
) -> None:
    other = OtherLoop()
    other.start(lambda: awaiting_driver().run(expired.token()))
    await asyncio.to_thread(endpoint.holdup.entered.wait, LONGEST)
    waiting = asyncio.create_task(awaiting_driver().run(expired.token()))
    await asyncio.to_thread(other.stop)
    endpoint.holdup.released.set()
    assert (await waiting).secret
    await asyncio.to_thread(other.close)


async def test_a_blocking_call_on_the_loop_that_leads_does_not_wait_for_itself(
    endpoint: GatedEndpoint, expired: TokenProvider
) -> None:
    leader = asyncio.create_task(awaiting_driver().run(expired.token()))
    await asyncio.to_thread(endpoint.holdup.entered.wait, LONGEST)
    endpoint.holdup.released.set()
    # On the loop itself: the leader cannot go on before this returns.
    token = blocking_driver().run(expired.token())
    assert token.secret
    assert not leader.done()
    assert (await leader).secret


def test_a_signal_handler_does_not_wait_for_the_thread_that_it_interrupts(
    endpoint: GatedEndpoint, expired: TokenProvider
) -> None:
    driver = blocking_driver()
    inner: list[AccessToken] = []

    def on_kill(*_: object) -> None:
        endpoint.holdup.released.set()
        inner.append(driver.run(expired.token()))

    before = signal.signal(signal.SIGUSR1, on_kill)
    main = threading.get_ident()

    def kill() -> None:
        assert endpoint.holdup.entered.wait(LONGEST)
        signal.pthread_kill(main, signal.SIGUSR1)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        outer = driver.run(expired.token())
    finally:
        killer.join()
        signal.signal(signal.SIGUSR1, before)
    assert inner[0].secret
    assert outer.secret


async def test_the_loop_goes_on_while_the_keys_are_read(endpoint: GatedEndpoint, clock: Clock) -> None:
    holdup = endpoint.holdup
    provider = TokenProvider(endpoint, holdup, clock=clock)
    asked = asyncio.create_task(awaiting_driver().run(provider.token()))
    # Were the source read on the loop, none of this would ever run.
    await asyncio.to_thread(holdup.entered.wait, LONGEST)
    assert holdup.thread not in (None, threading.get_ident())
    holdup.released.set()
    assert (await asked).secret
