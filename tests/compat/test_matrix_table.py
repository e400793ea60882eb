"""The table in the documentation is what the runs of the matrix have found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "matrix.py"


def test_the_table_shows_the_results_that_stand_beside_the_locks() -> None:
    checked = subprocess.run([sys.executable, str(TOOL), "--check"], check=False)
    assert checked.returncode == 0, "run: python tools/matrix.py --table"
