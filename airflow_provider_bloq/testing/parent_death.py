"""Run a command that ends when its parent process ends, for whatever reason.

Run as a script: ``python -I -S parent_death.py PARENT_PID COMMAND [ARGUMENT ...]``. This is a
program instead of a ``preexec_fn`` because Python code between fork and exec may deadlock in a threaded program.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from types import FrameType

__all__ = [
    "become",
    "watch",
]


#: From ``<sys/prctl.h>``.
_PR_SET_PDEATHSIG = 1
#: Seconds between two checks of the parent, if the kernel does not signal its death.
_LOOK_EVERY = 0.5
#: Exit status of a shell for a command that it cannot run.
_CANNOT_RUN = 127


def become(parent: int, argv: list[str]) -> int:
    """On Linux: request the parent-death signal, then replace this process by the command.

    :param parent: Process id of the expected parent.
    :param argv: The command.
    :return: The exit status if the command could not be run; otherwise this does not return.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        return _refuse(argv, os.strerror(ctypes.get_errno()))
    if os.getppid() != parent:
        # The parent died before the request; there will be no signal.
        return _refuse(argv, "the parent process has ended")
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        return _refuse(argv, str(error.strerror))


def watch(parent: int, argv: list[str]) -> int:
    """On other systems: run the command as a child, kill it once the parent has ended, and return its exit status.

    :param parent: Process id of the expected parent.
    :param argv: The command.
    """
    child: subprocess.Popen[bytes] | None = None
    stopped = threading.Event()

    def stop(_signum: int, _frame: FrameType | None) -> None:
        stopped.set()
        if child is not None:
            child.terminate()

    # Before the start, so that no signal leaves the command behind.
    signal.signal(signal.SIGTERM, stop)
    try:
        child = subprocess.Popen(argv)
    except OSError as error:
        return _refuse(argv, str(error.strerror))
    if stopped.is_set():
        child.terminate()
    ended = threading.Event()
    threading.Thread(target=_announce_end, args=(child, ended), daemon=True).start()
    while not ended.wait(_LOOK_EVERY):
        if os.getppid() != parent:
            child.kill()
    return child.returncode


def _announce_end(child: subprocess.Popen[bytes], ended: threading.Event) -> None:
    child.wait()
    ended.set()


def _refuse(argv: list[str], reason: str) -> int:
    print(f"cannot run {argv[0]}: {reason}", file=sys.stderr, flush=True)
    return _CANNOT_RUN


if __name__ == "__main__":
    run = become if sys.platform == "linux" else watch
    sys.exit(run(int(sys.argv[1]), sys.argv[2:]))
