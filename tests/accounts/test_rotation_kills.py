"""Rotations whose process is killed at each step, and the next try in another process."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from airflow_provider_bloq.testing.local import LocalBloq
from airflow_provider_bloq.testing.openbao import LocalVault
from tests.accounts.team import SETTLE_SECONDS, Team

NewTeam = Callable[..., Team]

ROOT = Path(__file__).parents[2]
LONG = 1_000_000.0


class KillableRotations:
    """Rotates in processes that can be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.accounts.killable"],
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
def killable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillableRotations]:
    running = KillableRotations(tmp_path_factory.mktemp("journals"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def steps(killable: KillableRotations, running_bloq: LocalBloq, vault: LocalVault) -> list[str]:
    """The effects of a whole rotation, in order."""
    team = Team(running_bloq, vault)
    whole = killable.rotate(team)
    team.close()
    assert whole["reached"] == "the end"
    return list(whole["steps"])


def deaths(steps: list[str]) -> list[int]:
    """The numbers of the effects that are visible outside the process."""
    return [number for number, step in enumerate(steps, 1) if step != "Mask"]


def near_create(steps: list[str]) -> list[int]:
    """The numbers of the effects from the create to the write to Vault, with one before and one after."""
    first = next(number for number, step in enumerate(steps, 1) if "POST client-keys" in step)
    last = next(number for number, step in enumerate(steps, 1) if "write_keys" in step)
    return [number for number in deaths(steps) if first - 1 <= number <= last + 1]


def test_a_rotation_does_these_steps_in_this_order(steps: list[str]) -> None:
    visible = [step.rpartition(".")[2] for step in steps if step != "Mask"]
    assert visible == [
        "target", "read", "read_keys", "read_login", "POST auth", "GET client-keys", "write", "POST client-keys",
        "write", "POST token", "write_keys", "write", "read", "read_keys", "POST token", "GET client-keys",
        visible[16], "GET client-keys", "read_keys", "POST token", "write",
    ]  # fmt: skip
    assert visible[16].startswith("DELETE ")


def test_after_a_death_at_any_step_the_next_try_ends_well(
    new_team: NewTeam, killable: KillableRotations, steps: list[str]
) -> None:
    for step in deaths(steps):
        team = new_team()
        foreign = team.colleague_creates()

        assert killable.rotate(team, dies_after=step)["killed"]
        team_is_served(team)
        end = killable.rotate(team)

        assert end.get("reached") == "the end", (step, steps[step - 1], end)
        assert team.stored_keys().client_id != team.keys.client_id
        team.check(foreign={foreign.client_id})
        noted = killable.journal(team).read_text()
        assert team.stored_keys().client_secret.reveal() not in noted
        assert team.password not in noted


def test_after_a_death_before_the_grace_period_the_next_try_leaves_two_pairs(
    new_team: NewTeam, killable: KillableRotations, steps: list[str]
) -> None:
    for step in near_create(steps):
        team = new_team()

        assert killable.rotate(team, dies_after=step, grace=LONG)["killed"]
        end = killable.rotate(team, grace=LONG)

        assert end.get("reached") == "the grace period", (step, steps[step - 1], end)
        team.check(old={team.keys.client_id})


def test_after_two_deaths_the_third_try_ends_well(
    new_team: NewTeam, killable: KillableRotations, steps: list[str]
) -> None:
    # The second try has different steps: it checks what became of the first.
    for first, second in itertools.islice(itertools.product(deaths(steps), range(2, 30)), 0, None, 101):
        team = new_team()
        killable.rotate(team, dies_after=first)
        killable.rotate(team, dies_after=second)
        team_is_served(team)

        end = killable.rotate(team)

        assert end.get("reached") == "the end", (first, second, end)
        team.check()


def test_a_pair_that_a_colleague_creates_after_the_death_is_kept(
    new_team: NewTeam, killable: KillableRotations, steps: list[str], bloq: LocalBloq
) -> None:
    for step in near_create(steps):
        team = new_team()
        killable.rotate(team, dies_after=step)
        # Later than any create of the killed process.
        bloq.advance_clock(SETTLE_SECONDS + 60)
        foreign = team.colleague_creates()

        end = killable.rotate(team)

        assert end.get("reached") == "the end", (step, steps[step - 1], end)
        team.check(foreign={foreign.client_id})


def test_a_pair_that_a_colleague_creates_during_the_create_is_disputed(
    new_team: NewTeam, killable: KillableRotations
) -> None:
    team = new_team()
    killable.rotate(team, dies_after="POST client-keys")
    foreign = team.colleague_creates()
    before = team.pairs()

    end = killable.rotate(team)

    assert end["error"].startswith("BloqRotationDisputed")
    assert all(client_id in end["error"] for client_id in before - {team.keys.client_id})
    assert foreign.client_id in end["error"]
    assert team.pairs() == before
    team_is_served(team)


def test_a_write_that_arrives_after_its_worker_died_is_refused(
    new_team: NewTeam, killable: KillableRotations, vault: LocalVault
) -> None:
    with HoldingRelay(vault.port, lambda method, path: method != "GET" and "/data/" in path) as relay:
        team = new_team()
        # It dies without an answer to its write, which the relay has.
        assert killable.rotate(team, dies_after="write_keys", port=relay.port)["killed"]
        # The next removes the pair that is not in Vault, and dies before it does anything else there.
        assert killable.rotate(team, dies_after="DELETE", port=relay.port)["killed"]
        team_is_served(team)

        assert relay.deliver() == 400
        team_is_served(team)
        assert killable.rotate(team, port=relay.port).get("reached") == "the end"
    team.check()


def team_is_served(team: Team) -> None:
    """Check that the pair in Vault works between two tries."""
    assert team.accepted(team.stored_keys())


class Held(NamedTuple):
    """A request as it was received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class HoldingRelay(ThreadingHTTPServer):
    """Passes requests on to a Vault, but holds the first matching one back; its sender gets no answer.

    :param port: Port of the Vault.
    :param holds: Tells by method and path whether to hold a request back.
    """

    daemon_threads = True

    def __init__(self, port: int, holds: Callable[[str, str], bool]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.vault_port = port
        self.held: Held | None = None
        self._holds = holds
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def keeps(self, request: Held) -> bool:
        """Hold the request back if it matches."""
        if self.held is not None or not self._holds(request.method, request.path):
            return False
        self.held = request
        return True

    def deliver(self) -> int:
        """Deliver the request that was held back; return the status of Vault's answer."""
        assert self.held is not None
        return self.hand_on(self.held)[0]

    def hand_on(self, request: Held) -> tuple[int, bytes, str]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.vault_port, timeout=60)
        try:
            upstream.request(request.method, request.path, request.body, request.headers)
            answer = upstream.getresponse()
            return answer.status, answer.read(), answer.headers.get("Content-Type", "")
        finally:
            upstream.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HoldingRelay

    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Held(self.command, self.path, dict(self.headers.items()), body)
        if self.server.keeps(request):
            self.close_connection = True
            return
        status, answer, content_type = self.server.hand_on(request)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = _relay

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
