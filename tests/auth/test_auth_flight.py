"""Single flight: however many come at once, one renews, and nobody waits for himself."""

from __future__ import annotations

import asyncio
import signal
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_bloq.auth.token_provider import AccessToken, ClientKeysTokenProvider
from airflow_provider_bloq.exceptions import BloqUnavailable
from airflow_provider_bloq.flow.effects import AwaitShared, Flow, RunShared, SharedOutcome, SingleFlight
from tests.support.drivers import awaiting_driver, blocking_driver
from tests.support.gated_endpoint import LONGEST, GatedEndpoint, HandClock
from tests.support.other_loop import OtherLoop

pytestmark = pytest.mark.logic


def _secrets(tokens: list[AccessToken]) -> set[str]:
    return {token.secret.reveal() for token in tokens}


def test_64_threads_that_find_an_expired_token_cause_one_refresh(
    endpoint: GatedEndpoint, expired: ClientKeysTokenProvider, pool: ThreadPoolExecutor
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
    endpoint: GatedEndpoint, expired: ClientKeysTokenProvider
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
    expired: ClientKeysTokenProvider,
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
    endpoint: GatedEndpoint, expired: ClientKeysTokenProvider, pool: ThreadPoolExecutor, clock: HandClock
) -> None:
    clock.now = 3500.0
    driver = blocking_driver()
    leader = pool.submit(lambda: driver.run(expired.token()))
    assert endpoint.holdup.entered.wait(LONGEST)
    old = driver.run(expired.token())
    endpoint.holdup.released.set()
    assert leader.result(LONGEST).secret != old.secret
    assert endpoint.refreshes == 1


def _once_boarded(flow: Flow[AccessToken]) -> Flow[AccessToken]:
    """Bring a flow to where it waits for another's flight; gives what is left of it."""
    effect = flow.send(None)
    assert isinstance(effect, AwaitShared)

    def left() -> Flow[AccessToken]:
        outcome = yield effect
        try:
            flow.send(outcome)
        except StopIteration as end:
            token: AccessToken = end.value
            return token
        raise AssertionError("it did more than to wait")

    return left()


def test_every_thread_that_waits_gets_the_leader_s_error_and_the_next_call_tries_anew(
    endpoint: GatedEndpoint, expired: ClientKeysTokenProvider, pool: ThreadPoolExecutor
) -> None:
    endpoint.holdup.failure = BloqUnavailable("Accounts is away")
    driver = blocking_driver()
    leader = pool.submit(lambda: driver.run(expired.token()))
    assert endpoint.holdup.entered.wait(LONGEST)
    followers = [pool.submit(driver.run, _once_boarded(expired.token())) for _ in range(10)]
    endpoint.holdup.released.set()
    assert all(isinstance(one.exception(LONGEST), BloqUnavailable) for one in (leader, *followers))
    assert endpoint.refreshes == 0
    assert driver.run(expired.token()).secret
    assert endpoint.refreshes == 1


async def test_tasks_that_wait_get_the_leader_s_error(
    endpoint: GatedEndpoint, expired: ClientKeysTokenProvider
) -> None:
    endpoint.holdup.failure = BloqUnavailable("Accounts is away")
    driver = awaiting_driver()
    asked = [asyncio.create_task(driver.run(expired.token())) for _ in range(10)]
    await asyncio.to_thread(endpoint.holdup.entered.wait, LONGEST)
    endpoint.holdup.released.set()
    errors = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(error, BloqUnavailable) for error in errors)
    assert endpoint.refreshes == 0


async def test_a_blocking_call_on_the_loop_that_leads_does_not_wait_for_itself(
    endpoint: GatedEndpoint, expired: ClientKeysTokenProvider
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
    endpoint: GatedEndpoint, expired: ClientKeysTokenProvider
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


async def test_the_loop_goes_on_while_the_keys_are_read(endpoint: GatedEndpoint, clock: HandClock) -> None:
    holdup = endpoint.holdup
    provider = ClientKeysTokenProvider(endpoint, holdup, clock=clock)
    asked = asyncio.create_task(awaiting_driver().run(provider.token()))
    # Were the source read on the loop, none of this would ever run.
    await asyncio.to_thread(holdup.entered.wait, LONGEST)
    assert holdup.thread not in (None, threading.get_ident())
    holdup.released.set()
    assert (await asked).secret


class OddError(Exception):
    """Cannot be copied: its class is not called with its args."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


@pytest.mark.parametrize(
    "error", [BloqUnavailable("no answer"), OddError("one", "other")], ids=["copied", "not copied"]
)
def test_a_waiter_s_error_does_not_hold_the_frames_of_the_others(error: Exception) -> None:
    flight = SingleFlight[None]()

    def fails() -> Flow[None]:
        raise error
        yield

    leader = flight.join(fails)
    lead = next(leader)
    waiters = [flight.join(fails) for _ in range(200)]
    follows = [next(waiter) for waiter in waiters]
    assert isinstance(lead, RunShared)
    assert all(isinstance(follow, AwaitShared) for follow in follows)
    lead.call.set_error(error)
    lengths = set()
    for waiter in waiters:
        with pytest.raises(type(error), match=str(error)) as raised:
            waiter.send(SharedOutcome.DONE)
        assert vars(raised.value) == vars(error)
        lengths.add(len(traceback.format_exception(raised.value)))
    assert len(lengths) == 1
