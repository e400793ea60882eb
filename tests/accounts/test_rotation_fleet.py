"""No call of a running task fails because of a rotation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from airflow_provider_bloq.accounts.rotation import GracePeriod
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from airflow_provider_bloq.testing.openbao import LocalVault
from tests.accounts.holders import Caller
from tests.accounts.team import MemoryJournal, Team, teams

ROOT = Path(__file__).parents[2]
LONG = 1_000_000.0
ROTATIONS = 3
HOLDERS = 12


@pytest.fixture(scope="module")
def short_lived() -> Iterator[LocalBloq]:
    """Its tokens live for a second, and are revoked with their keys."""
    options = LocalBloqOptions(
        upstreams={}, node_quota=None, access_token_seconds=1, key_deletion_kills_access=True
    )
    with LocalBloq(options) as running:
        yield running


@pytest.fixture
def busy_team(
    short_lived: LocalBloq, vault: LocalVault, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Team]]:
    yield from teams(short_lived, vault, monkeypatch)


class Load:
    """Threads that call all the time: some as one lasting task, some as a new task at each call."""

    def __init__(self, team: Team, *, lasting: int = 2, fresh: int = 1) -> None:
        self._callers = [caller_of(team) for _ in range(lasting + fresh)]
        self._served = [0] * len(self._callers)
        self._changed = threading.Condition()
        self._ends = threading.Event()
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number, number >= lasting), daemon=True)
            for number in range(len(self._callers))
        ]

    def _run(self, number: int, is_fresh: bool) -> None:
        caller = self._callers[number]
        while not self._ends.is_set():
            try:
                if is_fresh:
                    caller.start_anew()
                caller.call()
            except Exception as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            with self._changed:
                self._served[number] += 1
                self._changed.notify_all()

    def await_calls(self, more: int = 2) -> None:
        """Wait until each thread has made some more calls: the last of them began after this did."""
        with self._changed:
            wanted = [served + more for served in self._served]
            assert self._changed.wait_for(
                lambda: all(now >= then for now, then in zip(self._served, wanted, strict=True)), timeout=600
            )

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()
        for caller in self._callers:
            caller.close()


def caller_of(team: Team) -> Caller:
    return Caller(team.bloq.accounts_url, team.bloq.nodes_url, f"{team.desk.prefix}_worker", team.desk.path)


@pytest.mark.parametrize("grace", [LONG, 0.0], ids=["with grace", "without grace"])
def test_no_call_fails_during_rotations(busy_team: Callable[..., Team], grace: float) -> None:
    team = busy_team()
    ids = {team.keys.client_id}
    with Load(team) as load:
        for _ in range(ROTATIONS):
            load.await_calls()
            journal = MemoryJournal()
            if grace:
                assert isinstance(team.advance(journal, grace=grace), GracePeriod)
                load.await_calls()
                journal.end_grace()
            ids.add(team.rotate(journal).new_client_id)
        load.await_calls()
    assert load.failures == []
    assert len(ids) == ROTATIONS + 1
    assert team.pairs() == {team.stored_keys().client_id}


def test_processes_with_tokens_of_a_deleted_pair_go_on(team: Team) -> None:
    with Holders(team) as holders:
        assert holders.answer() == ["held"] * HOLDERS
        team.rotate()
        holders.go()
        assert holders.answer() == ["served"] * HOLDERS
    team.check()


class Holders:
    """Processes with tokens, and their parent."""

    def __init__(self, team: Team) -> None:
        conn_id = f"{team.desk.prefix}_worker"
        connection = json.dumps(team.connections()[conn_id])
        order: dict[str, Any] = {
            "accounts_url": team.bloq.accounts_url,
            "nodes_url": team.bloq.nodes_url,
            "conn_id": conn_id,
            "path": team.desk.path,
            "environment": {f"AIRFLOW_CONN_{conn_id.upper()}": connection},
            "holders": HOLDERS,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.accounts.holders"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._write(json.dumps(order))

    def answer(self) -> list[str]:
        assert self._process.stdout is not None
        answers: list[str] = json.loads(self._process.stdout.readline())
        return answers

    def go(self) -> None:
        self._write("go")

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
