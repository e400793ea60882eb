"""Find a bitcoind; where there is none, have it come from Debian, beside the system."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from airflow_provider_bloq.testing.cache import cache_directory, cached
from airflow_provider_bloq.testing.debian import machine_archive, unpacked
from airflow_provider_bloq.testing.errors import TestingSetupError

__all__ = ["BITCOIND_VARIABLE", "bitcoind_command"]

#: Environment variable that names a bitcoind to use instead of any other.
BITCOIND_VARIABLE = "BLOQ_BITCOIND"

#: Bitcoin Knots, a derivative of Bitcoin Core: the only bitcoind with segwit that Debian has.
_PACKAGE = "bitcoin-knots"
_RELEASE = "trixie"
_SUITES = (_RELEASE, f"{_RELEASE}-backports")
_REMEDY = (
    "Install Bitcoin Core or Bitcoin Knots, version 28 or newer, so that bitcoind is on PATH, or set"
    f" {BITCOIND_VARIABLE} to the path of a bitcoind."
)


def bitcoind_command() -> list[str]:
    """Return the command that runs bitcoind, to which bitcoind's own arguments are added.

    It is the one that ``BLOQ_BITCOIND`` names, else that on PATH, else one from Debian's backports, kept
    with the libraries that it needs in the cache of the testing tools.

    :raises TestingSetupError: There is none, and it could not be brought.
    """
    if chosen := os.environ.get(BITCOIND_VARIABLE):
        if not os.access(chosen, os.X_OK) or not Path(chosen).is_file():
            raise TestingSetupError(
                f"{BITCOIND_VARIABLE} names {chosen}, which is not a program that can be run",
                f"Correct {BITCOIND_VARIABLE}, or unset it to have a bitcoind found.",
            )
        return [str(Path(chosen).absolute())]
    if found := shutil.which("bitcoind"):
        return [found]
    return _with_its_libraries(
        cached(cache_directory() / f"{_PACKAGE}-{_RELEASE}-{platform.machine().lower()}", _fetch)
    )


def _fetch(workspace: Path) -> Path:
    root = unpacked(machine_archive(_REMEDY), _PACKAGE, _SUITES, workspace, _REMEDY)
    loaders = list(root.glob("usr/lib/*/ld-linux*.so.*"))
    binary = root / "usr/bin/bitcoind"
    if len(loaders) != 1 or not binary.is_file():
        raise TestingSetupError(f"the package {_PACKAGE} does not hold what it should", _REMEDY)
    # The rest of the packages is for a whole system.
    program = workspace / "program"
    program.mkdir()
    binary.rename(program / "bitcoind")
    loaders[0].parent.rename(program / "lib")
    return program


def _with_its_libraries(program: Path) -> list[str]:
    # Libraries of another release work only with that release's own loader.
    library = program / "lib"
    (loader,) = library.glob("ld-linux*.so.*")
    return [str(loader), "--library-path", str(library), str(program / "bitcoind")]
