"""Child processes that end with this process, and free ports for them.

Linux sends a child its parent-death signal when the *thread* that started it ends, not the process
(``prctl(2)``, ``PR_SET_PDEATHSIG``). A child started from a worker thread, such as one of
``asyncio.to_thread``, would be killed when the pool retires that thread. Therefore all children are started
from one thread that lives as long as this process.
"""

from __future__ import annotations

import collections
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Self, TypeVar, cast

from airflow_provider_bloq.testing import parent_death
from airflow_provider_bloq.testing.errors import TestingSetupError

__all__ = [
    "LOOPBACK",
    "ChildProcess",
    "free_ports",
    "on_free_port",
]


_Start = Callable[[], "subprocess.Popen[bytes]"]
_Job = tuple[_Start, "Future[subprocess.Popen[bytes]]"]


class _Launcher:
    """Owns the thread, which starts at first use; replaced in a forked child, which has no such thread."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def run(self, start: _Start) -> subprocess.Popen[bytes]:
        started: Future[subprocess.Popen[bytes]] = Future()
        with self._lock:
            if self._thread is None:
                # A daemon: the interpreter must not wait for it at exit.
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
                # Raised again in the thread that called.
                started.set_exception(error)


_launcher = _Launcher()


def _renew_after_fork() -> None:
    global _launcher
    _launcher = _Launcher()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)


LOOPBACK = "127.0.0.1"
_ATTEMPTS = 20

Started = TypeVar("Started")


def free_ports(count: int) -> list[int]:
    """Return that many different ports on which no program listens."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [int(server.getsockname()[1]) for server in sockets]
    for server in sockets:
        server.close()
    return ports


def on_free_port(start: Callable[[int], Started], taken: re.Pattern[str], name: str) -> Started:
    """Start a server on a free port, and on another one if that was taken in the meantime.

    :param start: Starts the server on a port.
    :param taken: Matches the error if another program listens on the port.
    :param name: Name of the server in messages.
    :return: What ``start`` returned.
    :raises TestingSetupError: ``start`` raised another error, or found every port taken.
    """
    for _ in range(_ATTEMPTS):
        (port,) = free_ports(1)
        try:
            return start(port)
        except TestingSetupError as error:
            if not taken.search(str(error)):
                raise
    raise TestingSetupError(f"{name} found no free port in {_ATTEMPTS} attempts")


#: Lines of output to keep, so that a service does not fill the memory in a long test run.
_KEPT_LINES = 100_000

_Answer = queue.SimpleQueue["re.Match[str] | None"]


class ChildProcess:
    """Runs a command once, and ends it when this process ends, even by SIGKILL; a context manager.

    A thread reads standard output and standard error as one stream, so the command never blocks on a full
    pipe. The command runs in a new session: Ctrl-C reaches only this process, which stops the command.

    :param argv: The command and its arguments.
    :param env: The whole environment of the command; None for that of this process.
    :param cwd: Working directory of the command; None for that of this process.
    :param name: Name of the process in error messages, such as ``anvil``.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        name: str,
    ) -> None:
        self._argv = [str(argument) for argument in argv]
        self._env = None if env is None else dict(env)
        self._cwd = cwd
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._lock = threading.Lock()
        self._lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._waiters: list[tuple[re.Pattern[str], _Answer]] = []
        self._output_ended = False

    def start(self) -> Self:
        """Start the command; :meth:`wait_for` waits until it is ready.

        :raises RuntimeError: It was started before.
        """
        if self._process is not None:
            raise RuntimeError(f"{self._name} was started before")
        self._process = _launcher.run(self._spawn)
        self._reader = threading.Thread(
            target=self._read, args=(self._process,), name=f"{self._name}-output", daemon=True
        )
        self._reader.start()
        return self

    def wait_for(self, pattern: re.Pattern[str], timeout: float) -> re.Match[str]:
        """Return the match of the first line of the output, past or future, that contains a pattern.

        :param pattern: Searched for in each line, without the line end.
        :param timeout: Seconds to wait.
        :raises TestingSetupError: The process ended or the time ran out; contains the end of the log.
        """
        answer: _Answer = queue.SimpleQueue()
        with self._lock:
            for line in self._lines:
                if match := pattern.search(line):
                    return match
            if self._output_ended:
                answer.put(None)
            waiter = (pattern, answer)
            self._waiters.append(waiter)
        try:
            found = answer.get(timeout=timeout)
        except queue.Empty:
            raise TestingSetupError(
                f"{self._name} did not report {pattern.pattern!r} within {timeout:g} s. {self._quoted_log()}"
            ) from None
        finally:
            with self._lock:
                self._waiters.remove(waiter)
        if found is None:
            raise TestingSetupError(
                f"{self._name} ended with status {self.returncode} before it reported"
                f" {pattern.pattern!r}. {self._quoted_log()}"
            )
        return found

    def finish(self, timeout: float) -> None:
        """Wait until the command has ended.

        :param timeout: Seconds to wait.
        :raises TestingSetupError: It failed or the time ran out; contains the end of the log.
        """
        if self._process is None:
            raise RuntimeError(f"{self._name} was not started yet")
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TestingSetupError(
                f"{self._name} did not end within {timeout:g} s. {self._quoted_log()}"
            ) from None
        self.stop()
        if status != 0:
            raise TestingSetupError(f"{self._name} ended with status {status}. {self._quoted_log()}")

    def stop(self, grace: float = 5.0) -> None:
        """End the process with SIGTERM, then with SIGKILL. Does nothing if it has ended.

        :param grace: Seconds between the two.
        """
        if self._process is None or self._reader is None:
            return
        self._process.terminate()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            _kill(self._process)
            self._process.wait()
        # With a limit, because a process that the command left behind may hold the pipe open.
        self._reader.join(grace)

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of the output, also after the process has ended."""
        with self._lock:
            return "\n".join(list(self._lines)[-lines:])

    @property
    def pid(self) -> int:
        """The process id.

        :raises RuntimeError: It was not started yet.
        """
        if self._process is None:
            raise RuntimeError(f"{self._name} was not started yet")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal; None before it has ended."""
        return None if self._process is None else self._process.poll()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()), *self._argv],
            env=self._env,
            cwd=self._cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        with cast("IO[bytes]", process.stdout) as output:
            for raw in output:
                line = raw.decode(errors="replace").rstrip("\r\n")
                with self._lock:
                    self._lines.append(line)
                    for pattern, answer in self._waiters:
                        if match := pattern.search(line):
                            answer.put(match)
        process.wait()
        with self._lock:
            self._output_ended = True
            for _, answer in self._waiters:
                answer.put(None)

    def _quoted_log(self) -> str:
        tail = self.log_tail()
        return f"Its output ends:\n{tail}" if tail else "It printed nothing."


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "linux":
        process.kill()
    else:
        # Here parent_death.py runs as the parent of the command, in the same process group.
        os.killpg(process.pid, signal.SIGKILL)
