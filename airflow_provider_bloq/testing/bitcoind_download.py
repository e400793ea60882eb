"""Downloads bitcoind from Debian with apt, beside the system and without root."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from airflow_provider_bloq.testing.downloads import cache_directory, cached, chosen_program, run_tool
from airflow_provider_bloq.testing.errors import TestingSetupError

__all__ = [
    "BITCOIND_VARIABLE",
    "DebianArchive",
    "bitcoind_command",
    "debian_archive",
    "machine_archive",
    "unpacked",
]


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
    """Return the command that runs bitcoind, without bitcoind's own arguments.

    The program is the one that ``BLOQ_BITCOIND`` names, or else the one on PATH, or else one from Debian's
    backports, cached with its libraries.

    :raises TestingSetupError: There is none, and it could not be downloaded.
    """
    if chosen := chosen_program(BITCOIND_VARIABLE, "bitcoind"):
        return [str(chosen)]
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
        raise TestingSetupError(f"the package {_PACKAGE} does not contain the expected files", _REMEDY)
    program = workspace / "program"
    program.mkdir()
    binary.rename(program / "bitcoind")
    loaders[0].parent.rename(program / "lib")
    return program


def _with_its_libraries(program: Path) -> list[str]:
    # Libraries of another release of Debian work only with the loader of that release.
    library = program / "lib"
    (loader,) = library.glob("ld-linux*.so.*")
    return [str(loader), "--library-path", str(library), str(program / "bitcoind")]


#: The component of Debian's own packages.
_COMPONENT = "main"
_ONE_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)"
)
_SIGNED_BY = re.compile(r"(?:^|\s)signed-by=(\S+)")


@dataclass(frozen=True, slots=True)
class DebianArchive:
    """A mirror of Debian.

    :param uri: Base URL, as apt writes it.
    :param signed_by: Keys to check its signatures with, in the format of the field ``Signed-By``; None for
        all keys that apt trusts.
    """

    uri: str
    signed_by: str | None = None

    def stanza(self, *suites: str) -> str:
        """Return the apt source for suites of this archive."""
        lines = [
            "Types: deb",
            f"URIs: {self.uri}",
            f"Suites: {' '.join(suites)}",
            f"Components: {_COMPONENT}",
        ]
        if self.signed_by is not None:
            lines.append(f"Signed-By: {self.signed_by}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Source:
    archive: DebianArchive
    suites: tuple[str, ...]
    components: tuple[str, ...]


def debian_archive(configuration: Path, codename: str) -> DebianArchive | None:
    """Return the archive from which apt takes a release of Debian; None if its sources name none.

    :param configuration: apt's folder, commonly ``/etc/apt``.
    :param codename: Codename of the release, such as ``bookworm``.
    """
    archives = [
        source.archive
        for source in _sources(configuration)
        if codename in source.suites
        and _COMPONENT in source.components
        and not source.archive.uri.startswith("cdrom:")
    ]
    # Other archives use the codename too; the URL of every mirror of Debian ends in this folder.
    archives.sort(key=lambda archive: not archive.uri.rstrip("/").endswith("/debian"))
    return archives[0] if archives else None


def _sources(configuration: Path) -> Iterator[_Source]:
    parts = sorted((configuration / "sources.list.d").glob("*"))
    for path in [configuration / "sources.list", *parts]:
        if not path.is_file():
            continue
        if path.suffix == ".sources":
            yield from _stanzas(path.read_text(errors="replace"))
        elif path.suffix == ".list":
            yield from _lines(path.read_text(errors="replace"))


def _lines(text: str) -> Iterator[_Source]:
    for line in text.splitlines():
        if found := _ONE_LINE.fullmatch(line.partition("#")[0].strip()):
            signed_by = _SIGNED_BY.search(found["options"] or "")
            yield _Source(
                DebianArchive(found["uri"], signed_by[1].replace(",", " ") if signed_by else None),
                (found["suite"],),
                tuple(found["components"].split()),
            )


def _stanzas(text: str) -> Iterator[_Source]:
    without_comments = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", without_comments):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        for uri in fields.get("uris", "").split():
            yield _Source(
                DebianArchive(uri, fields.get("signed-by")),
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
            )


def _fields(stanza: str) -> dict[str, str]:
    # A line that begins with a space continues the field before it, such as a key in Signed-By.
    found = re.findall(r"^([A-Za-z0-9-]+):[ \t]*(.*(?:\n[ \t]+.*)*)", stanza, re.MULTILINE)
    return {name.lower(): value for name, value in found}


_CONFIGURATION = Path("/etc/apt")
#: Read after the machine's own settings, whose proxies and certificates stay in force. With an empty list of
#: installed packages, apt downloads all dependencies. The hooks that are cleared maintain the system's cache.
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
    """Return the archive from which this machine takes Debian.

    :param remedy: What the user can do if there is none.
    :raises TestingSetupError: This machine does not run Debian, or its sources name no archive.
    """
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    if release.get("ID") != "debian":
        raise TestingSetupError(
            f"Debian packages are unpacked on Debian only, not on {release.get('ID') or platform.system()}",
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
    """Download a package with its dependencies, unpack them and return the folder that stands for ``/``.

    :param archive: The archive; only packages signed with its keys are unpacked.
    :param package: Name of the package.
    :param suites: Suites of the archive to use.
    :param folder: Empty folder to work in.
    :param remedy: What else the user can do if this fails.
    :param without: Patterns of the names of packages not to unpack.
    :raises TestingSetupError: There is no apt, the download failed, or a signature is not valid.
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
