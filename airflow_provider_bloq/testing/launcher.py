"""Start processes from one thread that lives as long as this process does.

Linux sends a child its parent-death signal when the *thread* that started it ends, not the process
(``prctl(2)``, ``PR_SET_PDEATHSIG``). A child started from a worker thread, such as one of
``asyncio.to_thread``, would be killed when the pool retires that thread; hence this one.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future

__all__ = ["launch"]

_Start = Callable[[], "subprocess.Popen[bytes]"]
_Job = tuple[_Start, "Future[subprocess.Popen[bytes]]"]


class _Launcher:
    """Owns the thread; made at first use and anew in a forked child, where the thread is missing."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def run(self, start: _Start) -> subprocess.Popen[bytes]:
        started: Future[subprocess.Popen[bytes]] = Future()
        with self._lock:
            if self._thread is None:
                # A daemon: it must neither hold up the end of the interpreter nor end before it.
                self._thread = threading.Thread(target=self._serve, name="bloq-launcher", daemon=True)
                self._thread.start()
            self._jobs.put((start, started))
        return started.result()

    def _serve(self) -> None:
        while True:
            start, started = self._jobs.get()
            try:
                started.set_result(start())
            except BaseException as error:
                # Handed over whole, to the thread that asked.
                started.set_exception(error)


_launcher = _Launcher()


def _renew_after_fork() -> None:
    global _launcher
    _launcher = _Launcher()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)


def launch(start: _Start) -> subprocess.Popen[bytes]:
    """Call ``start`` on the long-living thread and hand back the process that it started.

    :param start: Starts the process; it may be called from any thread.
    :return: The running process.
    """
    return _launcher.run(start)
