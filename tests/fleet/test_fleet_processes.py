"""Real processes, forked from one parent that has everything loaded, meet one shared token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.support.real_fleet import RealFleet

#: Each forks from a process that imports Airflow, which takes ten seconds.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROCESSES = 200


@contextmanager
def crowd(story: str, number: int) -> Iterator[tuple[IO[str], IO[str]]]:
    """Run the parent of a crowd in a process of its own; gives its standard input and output."""
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.fleet.crowd", story, str(number)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        yield parent.stdin, parent.stdout
    assert parent.returncode == 0


def test_two_hundred_processes_that_meet_a_dead_token_at_once_mint_once(fleet: RealFleet) -> None:
    with crowd("all-at-once", PROCESSES) as (go, told):
        assert told.readline() == "warm\n"
        fleet.expire()
        fleet.bloq.reset_counters()
        print(file=go, flush=True)
        assert json.loads(told.readline()) == []
    counts = fleet.bloq.counters()
    assert (counts.mints, counts.refreshes) == (1, 0)
    # The parent's token died; each child came with the one that was minted for all.
    assert sum(times for call, times in counts.calls.items() if call.startswith("nodes ")) >= PROCESSES


def test_a_holder_that_is_killed_is_superseded_by_one_of_those_who_wait(fleet: RealFleet) -> None:
    with crowd("after-a-death", 5) as (_, told):
        assert json.loads(told.readline()) == []
    assert fleet.bloq.counters().mints == 1
    assert fleet.stored() is not None
