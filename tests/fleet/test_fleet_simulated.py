"""A thousand task processes in an hour of simulated time, and what they cost Accounts and Vault."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_bloq.auth.shared_token_provider import KeepFreshResult
from airflow_provider_bloq.auth.shared_token_store import LEASE_SECONDS, Lease
from airflow_provider_bloq.auth.token_provider import TokenProvider
from airflow_provider_bloq.exceptions import BloqSharedTokenStale
from tests.support.scripted_bloq import MINUTE
from tests.support.simulated_fleet import PATIENCE, Process, SimulatedFleet

pytestmark = pytest.mark.logic

TASKS = 1_000
HOUR = 60 * MINUTE


@pytest.fixture
def fleet() -> SimulatedFleet:
    return SimulatedFleet()


def hour_of_tasks(fleet: SimulatedFleet, supply: Callable[[], TokenProvider]) -> None:
    """Start a thousand tasks over an hour, in waves and between them, of three calls each."""
    begin = fleet.bloq.time
    for number in range(TASKS):
        # Half of them come as mapped tasks do, many at the same instant.
        wave = fleet.random.randrange(12) * 5 * MINUTE
        at = wave if number % 2 else fleet.random.uniform(0, HOUR)
        fleet.start(begin + at, fleet.task(supply(), calls=3, pause=fleet.random.uniform(0, MINUTE)))


def test_members_mint_at_most_twice(fleet: SimulatedFleet) -> None:
    hour_of_tasks(fleet, fleet.member)
    fleet.run()
    assert fleet.failures == []
    assert fleet.bloq.calls == 3 * TASKS
    assert len(fleet.bloq.grants) == fleet.bloq.mints <= 2
    assert fleet.key_reads == fleet.bloq.mints


def test_readers_with_one_broker_ask_accounts_for_nothing(fleet: SimulatedFleet) -> None:
    begin, kept = fleet.bloq.time, []

    def broker() -> Process:
        result: KeepFreshResult = yield from fleet.driven(fleet.member().keep_fresh(2400))
        kept.append(result)

    for run in range(4):
        fleet.start(begin + run * 15 * MINUTE, broker())
    hour_of_tasks(fleet, fleet.reader)
    fleet.run()
    assert fleet.failures == []
    assert [one.renewed for one in kept] == [True, False, True, False]
    assert fleet.bloq.mints == len(fleet.bloq.grants) == 2
    # One read each, but for the first wave, which waits for the broker, and those of the first looks.
    assert fleet.store.token.reads < 1.5 * TASKS


def test_without_sharing_each_process_mints_once_and_reads_its_keys_once(fleet: SimulatedFleet) -> None:
    hour_of_tasks(fleet, fleet.lone)
    fleet.run()
    assert fleet.failures == []
    assert (fleet.bloq.mints, fleet.bloq.refreshes, fleet.key_reads) == (TASKS, 0, TASKS)


def test_most_members_read_the_shared_path_once_and_nothing_else(fleet: SimulatedFleet) -> None:
    hour_of_tasks(fleet, fleet.member)
    fleet.run()
    assert fleet.store.token.reads < 1.5 * TASKS
    # The first wave meets an empty path; later, one member within the margin is the first to come.
    assert fleet.store.lease.tries < TASKS / 10


def test_two_hundred_that_meet_a_dead_token_at_once_mint_once(fleet: SimulatedFleet) -> None:
    fleet.start(fleet.bloq.time, fleet.task(fleet.member(), calls=1, pause=0))
    fleet.run()
    later = fleet.bloq.time + 2 * HOUR
    for _ in range(200):
        fleet.start(later, fleet.task(fleet.member(), calls=1, pause=0))
    fleet.run()
    assert fleet.failures == []
    assert len(fleet.bloq.grants) == 2
    assert fleet.bloq.time - later < 10


def test_two_hundred_that_are_refused_the_current_token_at_once_renew_once(fleet: SimulatedFleet) -> None:
    members = [fleet.member() for _ in range(200)]
    begin = fleet.bloq.time
    for one in members:
        fleet.start(begin, fleet.task(one, calls=1, pause=0))
    fleet.run()
    assert fleet.store.token.fields is not None
    fleet.bloq.revoked.add(fleet.store.token.fields["access_token"])
    fleet.bloq.good_refresh.clear()
    for one in members:
        fleet.start(fleet.bloq.time, fleet.task(one, calls=1, pause=0))
    fleet.run()
    assert fleet.failures == []
    assert fleet.bloq.mints == 2
    assert fleet.store.token.version == 2


def test_a_holder_that_dies_is_superseded_once_by_the_whole_fleet(fleet: SimulatedFleet) -> None:
    begin = fleet.bloq.time

    def dies() -> Process:
        yield from fleet.driven(Lease(fleet.store.lease).take())

    fleet.start(begin, dies())
    for _ in range(200):
        fleet.start(begin + 0.1, fleet.task(fleet.member(), calls=1, pause=0))
    fleet.run()
    assert fleet.failures == []
    assert fleet.bloq.mints == 1
    assert LEASE_SECONDS < fleet.bloq.time - begin < LEASE_SECONDS + 10


def test_readers_without_a_broker_do_not_ask_as_one(fleet: SimulatedFleet) -> None:
    for _ in range(200):
        fleet.start(fleet.bloq.time, fleet.task(fleet.reader(), calls=1, pause=0))
    fleet.run()
    assert [type(error) for error in fleet.failures] == [BloqSharedTokenStale] * 200
    # In the mean one look in a few seconds each.
    assert fleet.store.token.reads < 200 * PATIENCE / 2
