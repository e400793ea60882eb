"""A child process under supervision: its output is read, its readiness awaited, its end ensured."""

from __future__ import annotations

import collections
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self, cast

from airflow_provider_bloq.testing import tether
from airflow_provider_bloq.testing.errors import TestingSetupError
from airflow_provider_bloq.testing.launcher import launch

__all__ = ["ChildProcess"]

#: Lines of output that are kept; a chatty service must not fill the memory of a long test run.
_KEPT_LINES = 100_000

_Answer = queue.SimpleQueue["re.Match[str] | None"]


class ChildProcess:
    """Runs one command and stops it at the latest when this process ends, even by SIGKILL.

    Standard output and standard error are read as one stream by a thread of their own, so the command
    never blocks on a full pipe. It gets a session of its own: Ctrl-C reaches only the owner, who stops it.
    May be started from any thread, however short-lived. Usable as a context manager; runs once.

    :param argv: The command and its arguments.
    :param env: The whole environment of the command; None passes on this process's.
    :param cwd: Working directory of the command; None passes on this process's.
    :param name: What the process is called in error messages, such as ``anvil``.
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
        """Start the command. What it needs before it is usable is up to :meth:`wait_for`.

        :raises RuntimeError: It was started before.
        """
        if self._process is not None:
            raise RuntimeError(f"{self._name} was started before")
        self._process = launch(self._spawn)
        self._reader = threading.Thread(
            target=self._read, args=(self._process,), name=f"{self._name}-output", daemon=True
        )
        self._reader.start()
        return self

    def wait_for(self, pattern: re.Pattern[str], timeout: float) -> re.Match[str]:
        """Wait until a line of the output matches, whether it came before the call or comes after.

        :param pattern: Searched for in each line, without the line end.
        :param timeout: Seconds to wait at most.
        :return: The match in the first such line.
        :raises TestingSetupError: The process ended or the time ran out; holds the end of the log.
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
        """Wait until the command has done its work and ended.

        :param timeout: Seconds to wait at most.
        :raises TestingSetupError: It failed or the time ran out; holds the end of the log.
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
        """End the process: SIGTERM, and SIGKILL if that is not enough. Does nothing if it has ended.

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
        # Bounded, since a process that the command left behind may hold the pipe open.
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
        """Exit status, negative for a signal; None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *self._argv],
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
        # Here the tether is a process beside the command; the two are the group.
        os.killpg(process.pid, signal.SIGKILL)
