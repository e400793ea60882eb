"""Bring the anvil binary from npm, checked against a hash that is written down here."""

from __future__ import annotations

import base64
import hashlib
import platform
import shutil
import sys
import tarfile
from pathlib import Path
from types import MappingProxyType

from airflow_provider_bloq.testing.cache import cache_directory, cached
from airflow_provider_bloq.testing.errors import TestingSetupError
from airflow_provider_bloq.testing.npm import npm_command, run_tool

__all__ = ["ANVIL_VARIABLE", "ANVIL_VERSION", "fetched_anvil"]

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
