"""A real Redis server on loopback, found on this machine or brought from Debian."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Self

from airflow_provider_bloq.testing.process import LOOPBACK, ChildProcess, on_free_port
from tests.support.debian_programs import Programs, debian_programs

__all__ = [
    "LocalRedis",
    "redis_programs",
]


_SERVER = "redis-server"
_REMEDY = f"Install Redis, so that {_SERVER} is on PATH."
#: On Debian, the server is a link to one of the tools.
_KEPT = (f"usr/bin/{_SERVER}", "usr/bin/redis-check-rdb")
_READY = re.compile(r"Ready to accept connections")
_PORT_TAKEN = re.compile(r"Address already in use")
_START_TIMEOUT = 60.0


def redis_programs() -> Programs:
    """Find the server on PATH; where there is none, have it come from Debian, beside the system.

    :raises TestingSetupError: There is none, and it could not be brought.
    """
    if found := shutil.which(_SERVER):
        return Programs(Path(found).parent)
    root = debian_programs(_SERVER, _KEPT, _REMEDY)
    return Programs(root / "usr/bin", root)


class LocalRedis:
    """Runs Redis on a free port, with a password of its own and everything in memory; a context manager."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bloq-redis-"))
        self._password = secrets.token_urlsafe(24)
        self._process: ChildProcess | None = None
        self._port = 0

    def start(self) -> Self:
        """Start the server and return when it serves.

        :raises TestingSetupError: There is no Redis, or it does not start.
        """
        try:
            command = redis_programs().command(_SERVER)
            self._process = on_free_port(lambda port: self._launch(command, port), _PORT_TAKEN, "Redis")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server and remove its files."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Its URL, with the password."""
        return f"redis://:{self._password}@{LOOPBACK}:{self._port}/0"

    def _launch(self, command: list[str], port: int) -> ChildProcess:
        settings = self._folder / "redis.conf"
        # In a file, since arguments of a command are shown to every user of the machine.
        settings.write_text(
            f'bind {LOOPBACK}\nport {port}\nrequirepass {self._password}\nsave ""\nappendonly no\n'
            f"dir {self._folder}\ndaemonize no\n"
        )
        process = ChildProcess([*command, settings], name="Redis").start()
        try:
            process.wait_for(_READY, _START_TIMEOUT)
        except BaseException:
            process.stop()
            raise
        self._port = port
        return process
