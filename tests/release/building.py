"""Builds what is released, and installs it into fresh environments from the versions of the lock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Release", "build", "install_command", "run"]

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "dev.txt"
#: Seconds after which a step is taken to hang; a busy machine needs a tenth of it.
PATIENCE = 900


@dataclass(frozen=True)
class Release:
    """The two files that are released."""

    wheel: Path
    sdist: Path


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    status: int = 0,
) -> str:
    """Run a command to its end and return its output; it must end with the given status."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=None if env is None else dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == status, f"status {done.returncode}\n{done.stdout}"
    return done.stdout


def build(folder: Path, source: Path = ROOT) -> Release:
    """Build wheel and sdist into an empty folder."""
    run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=source)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Release(wheel, sdist)


def install_command(wheel: Path, extra: str = "") -> list[str]:
    """Return the command that installs a wheel into the environment that ``VIRTUAL_ENV`` names.

    It is the project's uv in place of pip, which resolves and downloads for minutes.
    """
    return [
        str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet", "--compile-bytecode",
        "--constraint", str(LOCK), f"airflow-provider-bloq{extra} @ {wheel.as_uri()}",
    ]  # fmt: skip
