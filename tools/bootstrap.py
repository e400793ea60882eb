"""Make the project's own virtual environment from nothing but Python.

The lock pins everything, the installer included: pip (which every Python brings) installs exactly
the uv of the lock, and that uv installs the rest. A uv that happens to be on PATH is never used.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "dev.txt"
PROJECT = ROOT / "pyproject.toml"
ENVIRONMENT = ROOT / ".venv"
STAMP = ENVIRONMENT / "lock.sha256"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")


def locked_entry(name: str) -> str:
    """Return the lock's lines for one package: its pin and its hashes."""
    entry: list[str] = []
    for line in LOCK.read_text().splitlines():
        if entry and not line.startswith(" "):
            break
        if entry or line.startswith(f"{name}=="):
            entry.append(line)
    if not entry:
        raise SystemExit(f"{LOCK.relative_to(ROOT)} pins no {name}")
    return "\n".join(entry) + "\n"


def fingerprint() -> str:
    """Return what the environment was made from, so that an unchanged one is left alone."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (LOCK, PROJECT):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def run(*command: str | Path, **extra: str) -> None:
    environment = {**os.environ, **extra}
    # Without bytecode every "import airflow" costs seconds instead of one.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT, env=environment)


def main() -> None:
    if sys.version_info < (3, 11):
        raise SystemExit(
            f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}; "
            "name another one with: make PYTHON=python3.12 ..."
        )
    if STAMP.exists() and STAMP.read_text() == fingerprint():
        return
    print(f"Setting up {ENVIRONMENT.name} from {LOCK.relative_to(ROOT)} ...", flush=True)
    venv.create(ENVIRONMENT, clear=True, with_pip=True)
    python, uv = BIN / "python", BIN / "uv"
    with tempfile.TemporaryDirectory() as scratch:
        pinned = Path(scratch) / "uv.txt"
        pinned.write_text(locked_entry("uv"))
        run(python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", pinned)
    run(
        uv, "pip", "install", "--quiet", "--python", python, "--require-hashes",
        "--compile-bytecode", "-r", LOCK,
    )  # fmt: skip
    run(
        uv, "pip", "install", "--quiet", "--python", python, "--no-deps",
        "--no-build-isolation", "--editable", ROOT,
    )  # fmt: skip
    STAMP.write_text(fingerprint())


if __name__ == "__main__":
    main()
