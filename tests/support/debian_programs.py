"""Programs of a Debian package, which run from wherever it was unpacked."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_bloq.testing.bitcoind_download import machine_archive, unpacked
from airflow_provider_bloq.testing.downloads import cache_directory, cached

__all__ = [
    "Programs",
    "debian_programs",
]


#: Not unpacked. The system's own C library must be used, whose loader belongs to it; what compiles
#: queries, and Perl, which runs when a package is installed, are large and not needed.
_WITHOUT = ("libc6", "libllvm*", "libz3*", "perl*", "libperl*")
#: Where shared libraries are, before and since Debian merged the two.
_LIBRARY_FOLDERS = ("lib/*-linux-gnu*", "usr/lib/*-linux-gnu*")


@dataclass(frozen=True, slots=True)
class Programs:
    """A folder of programs.

    :param folder: The folder.
    :param root: The folder that stands for ``/``, which holds their libraries, too; None where these are
        the system's.
    """

    folder: Path
    root: Path | None = None

    def command(self, name: str) -> list[str]:
        """Return the command that runs one of them, to which its own arguments are added."""
        program = str(self.folder / name)
        if self.root is None:
            return [program]
        # Not in the environment of the whole process, whose own programs have libraries of the system.
        return ["env", f"LD_LIBRARY_PATH={self.loader_path()}", program]

    def loader_path(self) -> str:
        """Return where their libraries are, as ``LD_LIBRARY_PATH`` has it; empty where these are the system's."""
        if self.root is None:
            return ""
        return ":".join(str(path) for pattern in _LIBRARY_FOLDERS for path in sorted(self.root.glob(pattern)))

    def copied(self, target: Path) -> Programs:
        """Copy those that are not the system's, for a user who may not read the original.

        :param target: Where to; must not exist yet.
        """
        if self.root is None:
            return self
        shutil.copytree(self.root, target, symlinks=True)
        return Programs(target / self.folder.relative_to(self.root), target)


def debian_programs(package: str, kept: tuple[str, ...], remedy: str) -> Path:
    """Bring a package of this machine's own release of Debian, if it is not in the cache.

    :param package: Name of the package.
    :param kept: Patterns of what is kept besides the libraries, from ``/`` without the slash.
    :param remedy: What else the reader can do if this fails.
    :return: The folder that stands for ``/``.
    :raises TestingSetupError: This is no Debian, or it could not be brought.
    """
    archive = machine_archive(remedy)
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]

    def fetch(workspace: Path) -> Path:
        root = unpacked(archive, package, (release,), workspace, remedy, without=_WITHOUT)
        programs = workspace / "programs"
        for pattern in (*kept, *(f"{folder}/*.so*" for folder in _LIBRARY_FOLDERS)):
            for path in sorted(root.glob(pattern)):
                target = programs / path.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
        return programs

    return cached(cache_directory() / f"{package}-{release}-{platform.machine().lower()}", fetch)
