"""Real processes, forked from one parent that has everything loaded, meet one shared token."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from airflow_provider_bloq.auth.lease import Lease
from airflow_provider_bloq.auth.shared import SharedTokenProvider
from airflow_provider_bloq.clients.retry import RetryPolicy
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.connection import read_settings
from airflow_provider_bloq.hooks.masking import mask
from airflow_provider_bloq.hooks.wiring import Account
from tests.support.drivers import blocking_driver
from tests.support.real_fleet import RealFleet

PROCESSES = 200
#: Nothing takes this long; it only keeps a child from outliving a test that failed, in seconds.
LONGEST = 600


@dataclass
class Children:
    """Forked processes that wait for one signal to start at the same instant."""

    pids: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._gate, self._opener = os.pipe()
        self._reports, self._report = os.pipe()

    def fork(self, work: Callable[[], None]) -> int:
        """Fork a child that does its work once the gate opens, and reports only what went wrong."""
        pid = os.fork()
        if pid:
            self.pids.append(pid)
            return pid
        signal.alarm(LONGEST)
        os.close(self._opener)
        status = 1
        try:
            os.read(self._gate, 1)
            work()
            status = 0
        except BaseException:
            os.write(self._report, traceback.format_exc()[-3000:].encode())
        finally:
            os._exit(status)

    def open(self) -> None:
        """Let all of them go: each reads the end of the pipe."""
        os.close(self._opener)
        self._opener = -1

    def failures(self) -> str:
        """Wait until all have ended, and return what they reported."""
        os.close(self._report)
        self._report = -1
        with os.fdopen(self._reports) as reports:
            told = reports.read()
        self._reports = -1
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self.pids]
        self.pids.clear()
        return told or "".join(f"a child ended with {status}\n" for status in statuses if status)

    def close(self) -> None:
        """End what is left."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for end in (self._gate, self._opener, self._reports, self._report):
            if end >= 0:
                os.close(end)


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.close()


def test_two_hundred_processes_that_meet_a_dead_token_at_once_mint_once(
    fleet: RealFleet, children: Children
) -> None:
    warm = BloqHook("bloq_member")
    assert warm.nodes.list() == []
    fleet.expire()
    fleet.bloq.reset_counters()

    def work() -> None:
        assert warm.nodes.list() == []

    for _ in range(PROCESSES):
        children.fork(work)
    children.open()
    assert children.failures() == ""
    counts = fleet.bloq.counters()
    assert (counts.mints, counts.refreshes) == (1, 0)
    # The parent's token died; each child came with the one that was minted for all.
    assert sum(times for call, times in counts.calls.items() if call.startswith("nodes ")) >= PROCESSES


def test_a_holder_that_is_killed_is_superseded_by_one_of_those_who_wait(
    fleet: RealFleet, children: Children
) -> None:
    held_reader, held_writer = os.pipe()

    def dies() -> None:
        account = _account()
        assert account.store is not None
        assert blocking_driver().run(Lease(account.store.lease, seconds=3.0).take()) is not None
        os.write(held_writer, b"held")
        signal.pause()

    def waits() -> None:
        account = _account()
        assert account.store is not None
        provider = SharedTokenProvider(
            account.store,
            account.settings.accounts_url,
            minter=account.ladder(),
            patience=LONGEST,
            lease_seconds=LONGEST,
        )
        assert blocking_driver().run(provider.token()).secret

    doomed = Children()
    try:
        holder = doomed.fork(dies)
        doomed.open()
        assert os.read(held_reader, 4) == b"held"
        os.kill(holder, signal.SIGKILL)
        for _ in range(20):
            children.fork(waits)
        children.open()
        assert children.failures() == ""
    finally:
        doomed.close()
        os.close(held_reader)
        os.close(held_writer)
    assert fleet.bloq.counters().mints == 1
    assert fleet.stored() is not None


def _account() -> Account:
    return Account.of(read_settings("bloq_member"), mask, RetryPolicy())
