"""The tutorial, followed block by block in an empty directory with the wheel just built."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from airflow_provider_bloq.connection.fields import Environment
from airflow_provider_bloq.testing.command import main
from tests.docs.markdown import blocks
from tests.docs.walkthrough import file_of, script
from tests.release.building import ROOT, build, install_command

TUTORIAL = ROOT / "docs" / "tutorial.md"
PORTS = (8200, 8201, 4000, 4002, 4006)
#: Seconds after which the tutorial is taken to hang, on the busiest machine.
PATIENCE = 1_500
#: What the machine's own shell says of another Airflow, Vault or Python.
FOREIGN = re.compile(r"AIRFLOW|VAULT_|BAO_|PYTHON|VIRTUAL_ENV")


@pytest.mark.slow
def test_a_newcomer_reaches_a_green_dag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = build(tmp_path / "dist").wheel
    work = tmp_path / "work"
    work.mkdir()
    told = follow(script(TUTORIAL, rewriting(wheel)), work, environment(tmp_path))
    assert "Connection success!" in told
    assert re.search(r"Marking run .*bloq_tutorial.* successful", told), told[-5_000:]
    with capsys.disabled():
        print("\nThe tutorial, by seconds and blocks:")
        print("\n".join(re.findall(r"^\d+ s: .+$", told, re.MULTILINE)))


def test_a_block_that_fails_ends_the_walk_and_is_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Write this into `a/b.txt`:\n\n```python\nx = '$HOME'\n```\n\n```bash\ncat a/b.txt\n```\n\n"
        "```bash\nsleep 600 &\nfalse\n```\n\n```bash\necho too far\n```\n"
    )
    with pytest.raises(AssertionError) as failure:
        follow(script(page, ()), tmp_path, environment(tmp_path))
    assert "x = '$HOME'" in str(failure.value)
    assert "page.md:12" in str(failure.value)
    assert "too far" not in str(failure.value)


def test_every_block_is_run_or_written_into_a_file() -> None:
    written = {file_of(block) for block in blocks(TUTORIAL) if block.language not in ("bash", "text")}
    assert written == {"airflow-bloq.hcl", "dags/bloq_tutorial.py"}


def test_the_environment_local_is_where_bloq_local_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    local = Environment.LOCAL.presets
    for name, url in (
        ("accounts", local.accounts_url),
        ("nodes", local.nodes_url),
        ("connect", local.connect_url),
    ):
        port = url.rpartition(":")[2]
        assert re.search(rf"--{name}-port \S+ 0 for a free one \(default: {port}\)", shown), shown


def rewriting(wheel: Path) -> list[tuple[str, str]]:
    """Say what is done otherwise here: another installer, and an address where all the ports are free."""
    host = free_address()
    urls = f'"nodes_url": "http://{host}:4002", "connect_url": "http://{host}:4006"'
    return [
        ("pip install 'airflow-provider-bloq[testing]'", shlex.join(install_command(wheel, "[testing]"))),
        ("127.0.0.1", host),
        ("bao server -dev ", f"bao server -dev -dev-listen-address={host}:8200 "),
        ("bloq-local --keys-file", f"bloq-local --host {host} --keys-file"),
        ("--conn-type bloq ", f"--conn-type bloq --conn-host http://{host}:4000 "),
        ('"environment": "local"', f'"environment": "local", {urls}'),
    ]


def free_address() -> str:
    """Find a loopback address where nobody listens on the tutorial's ports; no other test will look there."""
    for _ in range(50):
        host = f"127.{secrets.randbelow(200) + 50}.{secrets.randbelow(250)}.{secrets.randbelow(250) + 1}"
        with ExitStack() as opened:
            try:
                for port in PORTS:
                    opened.enter_context(socket.create_server((host, port)))
            except OSError:
                continue
            return host
    raise AssertionError(f"no loopback address has the ports {PORTS} free")


def environment(folder: Path) -> dict[str, str]:
    """Give the environment of a newcomer's shell, whose python3 is the one that the tests run on."""
    programs = folder / "programs"
    programs.mkdir()
    (programs / "python3").symlink_to(Path(sys.executable).resolve())
    kept = {name: value for name, value in os.environ.items() if not FOREIGN.match(name)}
    folders = [path for path in kept["PATH"].split(os.pathsep) if Path(path) != Path(sys.executable).parent]
    return {**kept, "PATH": os.pathsep.join([str(programs), *folders])}


def follow(text: str, work: Path, env: dict[str, str]) -> str:
    """Run a script in a shell and return what it printed; it must end well."""
    with subprocess.Popen(
        ["bash", "-c", text],
        cwd=work,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=(work / "told.log").open("wb"),
        start_new_session=True,
    ) as shell:
        try:
            shell.wait(PATIENCE)
        except BaseException as error:
            # The shell could not do it itself, nor has its process group been anyone else's since.
            os.killpg(shell.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
    told = (work / "told.log").read_text(errors="replace")
    logs = "".join(f"\n--- {path.name}\n{path.read_text()[-2_000:]}" for path in sorted(work.glob("*-*.log")))
    assert shell.returncode == 0, f"status {shell.returncode}\n{told[-8_000:]}{logs}"
    return told
