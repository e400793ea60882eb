"""Unpack a package of Debian beside the system: no root, nothing installed, signatures checked by apt."""

from __future__ import annotations

import platform
import shutil
from fnmatch import fnmatch
from pathlib import Path

from airflow_provider_bloq.testing.apt_sources import DebianArchive, debian_archive
from airflow_provider_bloq.testing.errors import TestingSetupError
from airflow_provider_bloq.testing.npm import run_tool

__all__ = ["machine_archive", "unpacked"]

_CONFIGURATION = Path("/etc/apt")
#: Read after the machine's own settings, of which proxies and certificates stay in force. With an empty
#: list of installed packages, apt brings all that is needed. The hooks are for the system's own cache.
_SETTINGS = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{folder}/sources";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{folder}/state";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/state/status";
Dir::Cache "{folder}/cache";
Dir::Cache::archives "{folder}/cache/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
APT::Get::AllowUnauthenticated "false";
APT::Get::Assume-Yes "true";
APT::Get::Download-Only "true";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
"""


def machine_archive(remedy: str) -> DebianArchive:
    """Return the archive that this machine takes Debian from.

    :param remedy: What else the reader can do.
    :raises TestingSetupError: It is no Debian, or its sources do not tell.
    """
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    if release.get("ID") != "debian":
        raise TestingSetupError(
            f"packages of Debian are unpacked on Debian only, not on {release.get('ID') or platform.system()}",
            remedy,
        )
    codename = release.get("VERSION_CODENAME", "")
    archive = debian_archive(_CONFIGURATION, codename)
    if archive is None:
        raise TestingSetupError(f"apt's sources name no archive of Debian {codename or 'here'}", remedy)
    return archive


def unpacked(
    archive: DebianArchive,
    package: str,
    suites: tuple[str, ...],
    folder: Path,
    remedy: str,
    *,
    without: tuple[str, ...] = (),
) -> Path:
    """Bring a package and all that it needs, and unpack it.

    :param archive: Where to take it from. Only what its keys have signed is unpacked.
    :param package: Name of the package.
    :param suites: Suites of the archive to take it and what it needs from.
    :param folder: Empty folder to work in.
    :param remedy: What else the reader can do if this fails.
    :param without: Patterns of the names of packages that are not unpacked.
    :return: The folder that stands for ``/``.
    :raises TestingSetupError: There is no apt, it could not be downloaded, or a signature is not good.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise TestingSetupError(f"there is no {tool} to unpack {package} with", remedy)
    settings = _prepared(archive, suites, folder)
    for command in (["update"], ["install", package]):
        run_tool(
            ["apt-get", "-q", "-c", str(settings), *command],
            cwd=folder,
            purpose=f"fetch {package} with apt",
            remedy=remedy,
        )
    root = folder / "root"
    root.mkdir()
    for file in sorted((folder / "cache/archives").glob("*.deb")):
        name = file.name.partition("_")[0]
        if any(fnmatch(name, pattern) for pattern in without):
            continue
        run_tool(
            ["dpkg-deb", "-x", str(file), str(root)],
            cwd=folder,
            purpose=f"unpack {file.name}",
            remedy=remedy,
        )
    return root


def _prepared(archive: DebianArchive, suites: tuple[str, ...], folder: Path) -> Path:
    for name in ("sources", "state", "lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "sources/archive.sources").write_text(archive.stanza(*suites))
    (folder / "state/status").touch()
    settings = folder / "apt.conf"
    settings.write_text(_SETTINGS.format(folder=folder))
    return settings
