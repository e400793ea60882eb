"""A real PostgreSQL server on loopback, found on this machine or brought from Debian."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Self

from airflow_provider_bloq.testing.downloads import run_tool
from airflow_provider_bloq.testing.process import LOOPBACK, ChildProcess, on_free_port
from tests.support.debian_programs import Programs, debian_programs
from tests.support.unprivileged import ordinary_user

__all__ = [
    "LocalPostgres",
    "postgres_programs",
]


_SERVER, _MAKER = "postgres", "initdb"
_REMEDY = f"Install PostgreSQL 13 or newer, so that {_SERVER} and {_MAKER} are on PATH."
#: Where Debian has the programs, by major version; it puts none of these on PATH.
_DEBIAN_FOLDERS = "usr/lib/postgresql/*/bin"
_KEPT = (_DEBIAN_FOLDERS, "usr/lib/postgresql/*/lib/*.so", "usr/share/postgresql")
_USER, _DATABASE = "airflow", "postgres"
_READY = re.compile(r"database system is ready to accept connections")
_PORT_TAKEN = re.compile(r"Address already in use")
_START_TIMEOUT = 60.0
#: Seconds for its processes to end, which is done by then unless the machine is very busy.
_STOP_TIMEOUT = 20.0
#: Nothing of it outlives the server, so nothing need be safe from a crash of the machine.
_SETTINGS = """
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
max_connections = 200
fsync = off
synchronous_commit = off
full_page_writes = off
jit = off
"""


def postgres_programs() -> Programs:
    """Find the programs on PATH or where Debian has them; else have them come from Debian, beside the system.

    :raises TestingSetupError: There are none, and they could not be brought.
    """
    found = shutil.which(_SERVER)
    installed = [Path(found).resolve().parent] if found else []
    for folder in (*installed, *_newest_first(Path("/"))):
        if (folder / _SERVER).is_file() and (folder / _MAKER).is_file():
            return Programs(folder)
    root = debian_programs("postgresql", _KEPT, _REMEDY)
    return Programs(_newest_first(root)[0], root)


class LocalPostgres:
    """Runs PostgreSQL on a free port, with one empty database and a password of its own; a context manager.

    It refuses to run as root: where this process is root, it runs as ``nobody``.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bloq-postgres-"))
        self._data = self._folder / "data"
        self._password = secrets.token_urlsafe(24)
        self._process: ChildProcess | None = None
        self._port = 0

    def start(self) -> Self:
        """Make the database, start the server and return when it serves.

        :raises TestingSetupError: There is no PostgreSQL, or it does not start.
        """
        try:
            command = self._prepared()
            self._process = on_free_port(lambda port: self._launch(command, port), _PORT_TAKEN, "PostgreSQL")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server, whoever is connected, and remove its files."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def url(self, scheme: str = "postgresql") -> str:
        """Return the URL of its database, with the password.

        :param scheme: May name a driver, as SQLAlchemy has it: ``postgresql+psycopg2``.
        """
        return f"{scheme}://{_USER}:{self._password}@{LOOPBACK}:{self._port}/{_DATABASE}"

    def _prepared(self) -> list[str]:
        """Make the files of the database and return the command of its server."""
        user, programs = ordinary_user(_REMEDY), postgres_programs()
        if user.uid is not None:
            # The cache may lie where only root can go.
            programs = programs.copied(self._folder / "programs")
        password = self._folder / "password"
        password.write_text(self._password)
        user.give(self._folder)
        run_tool(
            [
                *user.prefix, *programs.command(_MAKER), f"--pgdata={self._data}", f"--username={_USER}",
                f"--pwfile={password}", "--auth=scram-sha-256", "--locale=C", "--encoding=UTF8", "--no-sync",
            ],
            cwd=self._folder,
            purpose="make a database of PostgreSQL",
            remedy=_REMEDY,
        )  # fmt: skip
        return [*user.prefix, *programs.command(_SERVER), "-D", str(self._data)]

    def _launch(self, command: list[str], port: int) -> ChildProcess:
        (self._data / "postgresql.auto.conf").write_text(_SETTINGS.format(host=LOOPBACK, port=port))
        process = ChildProcess(command, cwd=self._folder, name="PostgreSQL").start()
        try:
            process.wait_for(_READY, _START_TIMEOUT)
        except BaseException:
            _end(process)
            raise
        self._port = port
        return process


def _end(process: ChildProcess) -> None:
    if process.running:
        # SIGTERM alone would have it wait for its clients.
        os.kill(process.pid, signal.SIGINT)
    process.stop(grace=_STOP_TIMEOUT)


def _newest_first(root: Path) -> list[Path]:
    folders = [folder for folder in root.glob(_DEBIAN_FOLDERS) if folder.parent.name.isdecimal()]
    return sorted(folders, key=lambda folder: int(folder.parent.name), reverse=True)
