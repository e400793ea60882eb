"""Tell when a process has ended, also one that is nobody's child any more."""

from __future__ import annotations

import os
import select
from pathlib import Path

__all__ = ["Lifeline"]


class Lifeline:
    """A named pipe that a process holds open for writing, so that its end can be seen from here.

    :param path: Where to make the pipe.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        # Without O_NONBLOCK this would wait here for the process, which has not been started yet.
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def wait_held(self, timeout: float = 30.0) -> None:
        """Wait until the process has written a line into the pipe."""
        assert self._read(timeout) == b"held\n"

    def wait_ended(self, timeout: float = 30.0) -> None:
        """Wait until no process holds the pipe any more."""
        assert self._read(timeout) == b""

    def close(self) -> None:
        """Close this end."""
        os.close(self._reader)

    def _read(self, timeout: float) -> bytes:
        readable, _, _ = select.select([self._reader], [], [], timeout)
        assert readable, "nothing happened to the lifeline"
        return os.read(self._reader, 100)
