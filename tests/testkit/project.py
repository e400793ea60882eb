"""A user's project in a folder of its own, whose tests pytest runs in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.docs.markdown import blocks

__all__ = ["CONFTEST", "Project", "documented_files"]

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
#: A line that ends by naming a file, and the block after it.
_NAMED = re.compile(r"`([\w/.]+\.(?:py|ini))`(?:, [^`\n]*)?:$")
CONFTEST = 'pytest_plugins = ["airflow_provider_bloq.testing.pytest_plugin"]\n'
#: Seconds after which pytest is taken to hang.
PATIENCE = 600


def documented_files() -> dict[str, str]:
    """Return the files of the example in the docs, by their paths."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    named = ((_NAMED.search(lines[block.line - 4]), block) for block in blocks(PAGE))
    return {name[1]: block.text for name, block in named if name}


@dataclass(frozen=True)
class Project:
    """Files in a folder."""

    folder: Path

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def test(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run pytest there, as a user would."""
        own = {
            name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST"))
        }
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=self.folder,
            env={**own, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
