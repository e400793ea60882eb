"""A rotation whose process is killed at each of its steps, and the next try, in processes of their own."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.testing.local import LocalBloq
from airflow_provider_bloq.testing.openbao import LocalVault
from tests.rotation.holding import HoldingRelay
from tests.rotation.team import SETTLE_SECONDS, Team

NewTeam = Callable[..., Team]

ROOT = Path(__file__).parents[2]
LONG = 1_000_000.0


class Mortals:
    """Rotates in processes that may be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.rotation.mortal"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def rotate(
        self, team: Team, *, dies_after: int | str | None = None, grace: float = 0, port: int | None = None
    ) -> dict[str, Any]:
        """Take a team's rotation further; its journal outlives the process."""
        environment = {
            f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(connection)
            for conn_id, connection in team.connections(port=port).items()
        }
        order = {
            "desk": asdict(team.desk),
            "journal": str(self.journal(team)),
            "environment": environment,
            "dies_after": dies_after,
            "grace": grace,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def journal(self, team: Team) -> Path:
        return self._folder / f"{team.desk.prefix}.json"

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope="module")
def mortals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortals]:
    running = Mortals(tmp_path_factory.mktemp("journals"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def steps(mortals: Mortals, running_bloq: LocalBloq, vault: LocalVault) -> list[str]:
    """What a whole rotation does, effect by effect."""
    team = Team(running_bloq, vault)
    whole = mortals.rotate(team)
    team.close()
    assert whole["reached"] == "the end"
    return list(whole["steps"])


def deaths(steps: list[str]) -> list[int]:
    """The numbers of the effects that anybody but the process itself can see."""
    return [number for number, step in enumerate(steps, 1) if step != "Mask"]


def test_a_rotation_does_what_it_says_in_this_order(steps: list[str]) -> None:
    visible = [step.rpartition(".")[2] for step in steps if step != "Mask"]
    assert visible == [
        "place", "read", "read_keys", "read_login", "POST auth", "GET client-keys", "write", "POST client-keys",
        "write", "POST token", "write_keys", "write", "read", "read_keys", "POST token", "GET client-keys",
        visible[16], "GET client-keys", "read_keys", "POST token", "write",
    ]  # fmt: skip
    assert visible[16].startswith("DELETE ")


def test_after_a_death_at_any_step_the_next_try_ends_well(
    new_team: NewTeam, mortals: Mortals, steps: list[str]
) -> None:
    for step in deaths(steps):
        team = new_team()
        foreign = team.colleague_creates()

        assert mortals.rotate(team, dies_after=step)["killed"]
        team_is_served(team)
        end = mortals.rotate(team)

        assert end.get("reached") == "the end", (step, steps[step - 1], end)
        assert team.stored_keys().client_id != team.keys.client_id
        team.check(foreign={foreign.client_id})
        noted = mortals.journal(team).read_text()
        assert team.stored_keys().client_secret.reveal() not in noted
        assert team.password not in noted


def test_after_a_death_before_the_grace_period_the_next_try_leaves_two_pairs(
    new_team: NewTeam, mortals: Mortals, steps: list[str]
) -> None:
    stored = next(number for number, step in enumerate(steps, 1) if "write_keys" in step)
    for step in (number for number in deaths(steps) if number <= stored + 1):
        team = new_team()

        assert mortals.rotate(team, dies_after=step, grace=LONG)["killed"]
        end = mortals.rotate(team, grace=LONG)

        assert end.get("reached") == "the grace period", (step, steps[step - 1], end)
        team.check(old={team.keys.client_id})


def test_after_two_deaths_the_third_try_ends_well(
    new_team: NewTeam, mortals: Mortals, steps: list[str]
) -> None:
    # The second try has steps of its own: it looks what became of the first.
    for first, second in itertools.islice(itertools.product(deaths(steps), range(2, 30)), 0, None, 23):
        team = new_team()
        mortals.rotate(team, dies_after=first)
        mortals.rotate(team, dies_after=second)
        team_is_served(team)

        end = mortals.rotate(team)

        assert end.get("reached") == "the end", (first, second, end)
        team.check()


def test_a_colleague_who_makes_a_pair_after_the_death_is_left_alone(
    new_team: NewTeam, mortals: Mortals, steps: list[str], bloq: LocalBloq
) -> None:
    for step in deaths(steps):
        team = new_team()
        mortals.rotate(team, dies_after=step)
        # Later than any create of the one that died can have been.
        bloq.advance_clock(SETTLE_SECONDS + 60)
        foreign = team.colleague_creates()

        end = mortals.rotate(team)

        assert end.get("reached") == "the end", (step, steps[step - 1], end)
        team.check(foreign={foreign.client_id})


def test_a_colleague_who_makes_a_pair_at_the_moment_of_the_death_is_not_taken_for_the_rotation(
    new_team: NewTeam, mortals: Mortals
) -> None:
    team = new_team()
    mortals.rotate(team, dies_after="POST client-keys")
    foreign = team.colleague_creates()
    before = team.pairs()

    end = mortals.rotate(team)

    assert end["error"].startswith("BloqRotationDisputed")
    assert all(client_id in end["error"] for client_id in before - {team.keys.client_id})
    assert foreign.client_id in end["error"]
    assert team.pairs() == before
    team_is_served(team)


def test_a_write_that_arrives_after_its_worker_died_does_not_bring_a_dead_pair_into_vault(
    new_team: NewTeam, mortals: Mortals, vault: LocalVault
) -> None:
    with HoldingRelay(vault.port, lambda method, path: method != "GET" and "/data/" in path) as relay:
        team = new_team()
        # It dies without an answer to its write, which the relay has.
        assert mortals.rotate(team, dies_after="write_keys", port=relay.port)["killed"]
        # The next removes the pair that is not in Vault, and dies before it does anything else there.
        assert mortals.rotate(team, dies_after="DELETE", port=relay.port)["killed"]
        team_is_served(team)

        assert relay.deliver() == 400
        team_is_served(team)
        assert mortals.rotate(team, port=relay.port).get("reached") == "the end"
    team.check()


def team_is_served(team: Team) -> None:
    """Between the tries: whatever was done, what Vault holds works."""
    assert team.accepted(team.stored_keys())
