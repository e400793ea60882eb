"""Find Chromium on this machine, or bring it from Debian, for tests that look at Airflow's web pages."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.debian_programs import Programs, debian_programs

__all__ = [
    "Browser",
    "chromium",
]


_NAMES = ("chromium", "chromium-browser", "google-chrome")
_REMEDY = "Install Chromium, so that chromium is on PATH."
#: Where some of its libraries have further ones of their own.
_INNER_LIBRARIES = ("usr/lib/*-linux-gnu*/nss", "usr/lib/*-linux-gnu*/pulseaudio")
#: The browser itself, its libraries, and something to write with.
_KEPT = (
    "usr/lib/chromium",
    *_INNER_LIBRARIES,
    "usr/share/fonts",
    "etc/fonts",
    "usr/share/fontconfig",
)
_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{root}/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""


@dataclass(frozen=True, slots=True)
class Browser:
    """How to start a browser.

    :param program: The program.
    :param environment: What has to be in its environment besides.
    """

    program: Path
    environment: dict[str, str] = field(default_factory=dict)


def chromium() -> Browser:
    """Find Chromium on PATH; where there is none, have it come from Debian, beside the system.

    :raises TestingSetupError: There is none, and it could not be brought.
    """
    for name in _NAMES:
        if found := shutil.which(name):
            return Browser(Path(found))
    root = debian_programs("chromium", _KEPT, _REMEDY)
    programs = Programs(root / "usr/lib/chromium", root)
    inner = [str(path) for pattern in _INNER_LIBRARIES for path in sorted(root.glob(pattern))]
    libraries = ":".join([programs.loader_path(), *inner])
    fonts = root / "fonts.conf"
    fonts.write_text(_FONTS.format(root=root), encoding="utf-8")
    return Browser(
        programs.folder / "chromium",
        {**os.environ, "LD_LIBRARY_PATH": libraries, "FONTCONFIG_FILE": str(fonts)},
    )
