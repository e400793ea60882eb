"""Where downloads of the testing tools are kept, and how one comes in exactly once."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "CACHE_VARIABLE",
    "cache_directory",
    "cached",
]


#: Environment variable that names the folder to keep downloads in.
CACHE_VARIABLE = "BLOQ_TESTING_CACHE"


def cache_directory() -> Path:
    """Return the folder that downloads are kept in; it need not exist yet."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "airflow-provider-bloq"


def cached(target: Path, fill: Callable[[Path], Path]) -> Path:
    """Return ``target``; if it does not exist, have it made, once among all threads and processes.

    :param target: The file that is wanted. It appears whole or not at all.
    :param fill: Gets an empty folder to work in, makes the file there and returns its path. What else
        it leaves there is deleted.
    :return: ``target``.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(f"{target.name}.lock")):
        if not target.exists():
            # On the same file system as the target, so that the rename is atomic.
            workspace = target.with_name(f"{target.name}.part")
            # One may be there if the process that held the lock before was killed.
            shutil.rmtree(workspace, ignore_errors=True)
            workspace.mkdir()
            try:
                fill(workspace).replace(target)
            finally:
                shutil.rmtree(workspace)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # The lock file is never deleted: a waiter would hold a lock on a file that nobody else can see.
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
