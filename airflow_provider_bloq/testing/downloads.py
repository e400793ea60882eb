"""Downloads of the test kit: where they are kept, how each is fetched once, and how a download tool is run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from airflow_provider_bloq.testing.errors import TestingSetupError

__all__ = [
    "cache_directory",
    "cached",
    "chosen_program",
    "run_tool",
]


#: Environment variable that names the folder for downloads.
_CACHE_VARIABLE = "BLOQ_TESTING_CACHE"
#: Seconds that a download may take; the largest file has about 60 MB.
_DOWNLOAD_TIMEOUT = 900.0


def chosen_program(variable: str, name: str) -> Path | None:
    """Return the program that an environment variable names; None if it is not set.

    :param variable: Name of the variable.
    :param name: Name of the program, for the remedy.
    :raises TestingSetupError: The variable does not name an executable file.
    """
    chosen = os.environ.get(variable)
    if not chosen:
        return None
    if not os.access(chosen, os.X_OK) or not Path(chosen).is_file():
        raise TestingSetupError(
            f"{variable} names {chosen}, which is not a program that can be run",
            f"Correct {variable}, or unset it to have {name} found or downloaded.",
        )
    return Path(chosen).absolute()


def cache_directory() -> Path:
    """Return the folder that downloads are kept in; it need not exist yet."""
    if chosen := os.environ.get(_CACHE_VARIABLE):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "airflow-provider-bloq"


def cached(target: Path, fill: Callable[[Path], Path]) -> Path:
    """Return ``target``, created first if it does not exist, by one of all threads and processes.

    :param target: The file or folder. It appears whole or not at all.
    :param fill: Creates it in the empty folder that it is given, and returns its path. Everything else
        in that folder is deleted.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(f"{target.name}.lock")):
        if not target.exists():
            # On the same file system as the target, so that the rename is atomic.
            workspace = target.with_name(f"{target.name}.part")
            # A process that was killed may have left one.
            shutil.rmtree(workspace, ignore_errors=True)
            workspace.mkdir()
            try:
                fill(workspace).replace(target)
            finally:
                shutil.rmtree(workspace)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # The lock file is never deleted: a waiting process would then lock a file that no other process sees.
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_tool(argv: Sequence[str], *, cwd: Path, purpose: str, remedy: str) -> None:
    """Run a tool to its end, in the environment of this process so that the user's configuration applies.

    :param argv: The command.
    :param cwd: Working directory.
    :param purpose: What it is run for; follows "could not" in the error.
    :param remedy: What to do if it fails.
    :raises TestingSetupError: It failed; contains the end of its output.
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
