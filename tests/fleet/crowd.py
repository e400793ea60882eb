"""Processes that are forked from one small warmed parent, so that many of them fit into memory: run as a module.

The connections come by the environment. Everything is loaded once and kept out of the garbage collector's
reach, so the pages of the parent stay shared; it has no threads, so that forking is safe. The last line that
it prints is a JSON list of what went wrong in its children.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import TextIO

from airflow_provider_bloq.auth.shared_token_provider import SharedStore, SharedTokenProvider
from airflow_provider_bloq.auth.shared_token_store import Lease
from airflow_provider_bloq.connection.reading import mask, read_settings
from airflow_provider_bloq.flow.retry import RetryPolicy
from airflow_provider_bloq.hooks._account import Account
from airflow_provider_bloq.hooks.bloq import BloqHook
from tests.support.drivers import blocking_driver

#: Nothing takes this long; it only keeps a child from outliving a test that failed, in seconds.
LONGEST = 600
#: How long a lease is taken for whose holder dies, in seconds.
BRIEF = 3.0


class Children:
    """Forked processes that wait for one signal to start at the same instant."""

    def __init__(self) -> None:
        self.pids: list[int] = []
        self._gate, self._opener = os.pipe()
        self._reports, self._report = os.pipe()

    def fork(self, work: Callable[[], None]) -> int:
        """Fork a child that does its work once the gate opens, and reports only what went wrong."""
        pid = os.fork()
        if pid:
            self.pids.append(pid)
            return pid
        status = 1
        try:
            gc.enable()
            signal.alarm(LONGEST)
            os.close(self._opener)
            os.read(self._gate, 1)
            work()
            status = 0
        except BaseException:
            # So short that it is written as a whole, whoever else writes.
            os.write(self._report, f"{traceback.format_exc()[-1000:]}\0".encode())
        finally:
            os._exit(status)

    def open(self) -> None:
        """Let all of them go: each reads the end of the pipe."""
        os.close(self._opener)

    def failures(self) -> list[str]:
        """Wait until all have ended, and return what they reported."""
        os.close(self._report)
        with os.fdopen(self._reports) as reports:
            told = [report for report in reports.read().split("\0") if report]
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self.pids]
        return told or [f"a child ended with {status}" for status in statuses if status]


def settle() -> None:
    """Put everything that is loaded aside, so that no child's garbage collection touches its pages."""
    gc.disable()
    gc.collect()
    gc.freeze()


def all_at_once(number: int, replies: TextIO) -> list[str]:
    """Warm a hook, wait for a line while its token is made to expire, and let all children use it at once."""
    warm = BloqHook("bloq_member")
    assert warm.nodes.list() == []
    print("warm", file=replies, flush=True)
    sys.stdin.readline()

    def work() -> None:
        assert warm.nodes.list() == []

    settle()
    return forked(number, work)


def after_a_death(number: int) -> list[str]:
    """Kill the holder of the lease, and let the others take over."""
    store = shared()[1]
    # Loads what Vault takes, before the forks.
    blocking_driver().run(store.lease.read())
    settle()
    held, holding = os.pipe()

    def dies() -> None:
        assert blocking_driver().run(Lease(shared()[1].lease, seconds=BRIEF).take()) is not None
        os.write(holding, b"h")
        signal.pause()

    def waits() -> None:
        account, store = shared()
        provider = SharedTokenProvider(
            store,
            account.settings.accounts_url,
            minter=account.client_keys_provider(),
            max_wait=LONGEST,
            lease_seconds=LONGEST,
        )
        assert blocking_driver().run(provider.token()).secret

    doomed = Children()
    holder = doomed.fork(dies)
    os.close(holding)
    doomed.open()
    took_it = os.read(held, 1) == b"h"
    os.kill(holder, signal.SIGKILL)
    failures = doomed.failures()
    if not took_it:
        return failures
    return forked(number, waits)


def forked(number: int, work: Callable[[], None]) -> list[str]:
    children = Children()
    for _ in range(number):
        children.fork(work)
    children.open()
    return children.failures()


def shared() -> tuple[Account, SharedStore]:
    account = Account.of(read_settings("bloq_member"), mask, RetryPolicy())
    assert account.store is not None
    return account, account.store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("story", choices=("all-at-once", "after-a-death"))
    parser.add_argument("number", type=int)
    arguments = parser.parse_args()
    # What is logged goes to standard output as well.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if arguments.story == "all-at-once":
        failures = all_at_once(arguments.number, replies)
    else:
        failures = after_a_death(arguments.number)
    print(json.dumps(failures), file=replies, flush=True)


if __name__ == "__main__":
    main()
