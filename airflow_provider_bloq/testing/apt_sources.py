"""Read from apt's own sources where this machine takes Debian from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DebianArchive", "debian_archive"]

#: The component that all of Debian's own packages are in.
_COMPONENT = "main"
_ONE_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)"
)
_SIGNED_BY = re.compile(r"(?:^|\s)signed-by=(\S+)")


@dataclass(frozen=True, slots=True)
class DebianArchive:
    """Where Debian's packages come from.

    :param uri: Base URL, as apt writes it.
    :param signed_by: The keys that its signatures are checked with, as the field ``Signed-By`` writes
        them; None for all keys that apt trusts.
    """

    uri: str
    signed_by: str | None = None

    def stanza(self, *suites: str) -> str:
        """Write it as apt reads it, for other suites of the same archive."""
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
    """Find the archive that a release of Debian is taken from.

    :param configuration: apt's folder, commonly ``/etc/apt``.
    :param codename: Codename of the release, such as ``bookworm``.
    :return: None if the sources name no such archive.
    """
    archives = [
        source.archive
        for source in _sources(configuration)
        if codename in source.suites
        and _COMPONENT in source.components
        and not source.archive.uri.startswith("cdrom:")
    ]
    # Others name a suite after a release, too; every mirror of Debian ends in this folder.
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
    # A line that begins with a space goes on with the field before it, such as a key in Signed-By.
    found = re.findall(r"^([A-Za-z0-9-]+):[ \t]*(.*(?:\n[ \t]+.*)*)", stanza, re.MULTILINE)
    return {name.lower(): value for name, value in found}
