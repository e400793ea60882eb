"""Whatever becomes of who renews the token: nobody is left waiting."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider
from airflow_provider_bloq.flow.effects import Flow, RunShared, SingleFlight
from tests.support.drivers import awaiting_driver, blocking_driver
from tests.support.gated_endpoint import LONGEST, GatedEndpoint
from tests.support.other_loop import OtherLoop

pytestmark = pytest.mark.logic


async def test_a_cancelled_leader_takes_the_token_from_nobody(
    endpoint: GatedEndpoint, expired: ClientKeysTokenProvider
) -> None:
    driver = awaiting_driver()
    leader = asyncio.create_task(driver.run(expired.token()))
    followers = [asyncio.create_task(driver.run(expired.token())) for _ in range(3)]
    await asyncio.to_thread(endpoint.holdup.entered.wait, LONGEST)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    endpoint.holdup.released.set()
    assert len({token.secret for token in await asyncio.gather(*followers)}) == 1
    # The renewal went on without him; it was not begun anew.
    assert (endpoint.holdup.entries, endpoint.refreshes) == (1, 1)


async def test_a_cancelled_follower_leaves_the_flight_alone(
    endpoint: GatedEndpoint, expired: ClientKeysTokenProvider
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
    endpoint: GatedEndpoint, expired: ClientKeysTokenProvider, pool: ThreadPoolExecutor
) -> None:
    endpoint.holdup.failure = TaskTimeout()
    driver = blocking_driver()
    leader = pool.submit(lambda: driver.run(expired.token()))
    assert endpoint.holdup.entered.wait(LONGEST)
    followers = [pool.submit(lambda: driver.run(expired.token())) for _ in range(10)]
    endpoint.holdup.released.set()
    with pytest.raises(TaskTimeout):
        leader.result(LONGEST)
    assert len({follower.result(LONGEST).secret for follower in followers}) == 1
    assert endpoint.refreshes == 1


def test_a_leader_that_is_killed_before_it_took_off_leaves_no_flight_behind() -> None:
    flight: SingleFlight[int] = SingleFlight()

    def renewal() -> Flow[int]:
        yield from ()
        return 7

    grounded = flight.join(renewal)
    assert isinstance(grounded.send(None), RunShared)
    before = flight.in_flight
    grounded.close()
    assert (before, flight.in_flight) == (True, False)
    assert blocking_driver().run(flight.join(renewal)) == 7


@pytest.mark.parametrize("end", ["stop", "close"])
def test_when_the_leader_s_loop_ends_a_waiting_thread_leads(
    endpoint: GatedEndpoint, expired: ClientKeysTokenProvider, pool: ThreadPoolExecutor, end: str
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
    endpoint: GatedEndpoint, expired: ClientKeysTokenProvider
) -> None:
    other = OtherLoop()
    other.start(lambda: awaiting_driver().run(expired.token()))
    await asyncio.to_thread(endpoint.holdup.entered.wait, LONGEST)
    waiting = asyncio.create_task(awaiting_driver().run(expired.token()))
    await asyncio.to_thread(other.stop)
    endpoint.holdup.released.set()
    assert (await waiting).secret
    await asyncio.to_thread(other.close)
