"""A supervised child: readiness, output, stopping, and its end with the process that started it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_bloq.testing.errors import TestingSetupError
from airflow_provider_bloq.testing.process import ChildProcess
from tests.anvil.lifeline import Lifeline

Script = Callable[..., "subprocess.Popen[str]"]

READY = re.compile(r"^ready on (\d+)$")

#: Starts a child that holds the lifeline open, then ends in the way that is put in.
PARENT = """
import os, re, sys
from airflow_provider_bloq.testing.process import ChildProcess
script = 'exec 3>"$0"; echo held >&3; echo ready; exec sleep 600'
child = ChildProcess(["sh", "-c", script, sys.argv[1]], name="child")
child.start().wait_for(re.compile("^ready$"), 30)
print("started", flush=True)
sys.stdin.readline()
"""


def shell(script: str, *arguments: str) -> ChildProcess:
    return ChildProcess(["sh", "-c", script, *arguments], name="shell")


def test_wait_for_returns_the_match_of_the_line() -> None:
    with shell("echo starting; echo ready on 4711; exec sleep 600") as child:
        assert child.wait_for(READY, 30)[1] == "4711"
        assert child.running


def test_a_line_that_came_before_the_wait_is_found() -> None:
    with shell("echo first; echo second; exec sleep 600") as child:
        child.wait_for(re.compile("^second$"), 30)
        assert child.wait_for(re.compile("^first$"), 30)[0] == "first"


def test_standard_error_is_read_too() -> None:
    with shell("echo ready on 1 >&2; exec sleep 600") as child:
        assert child.wait_for(READY, 30)[1] == "1"


def test_several_threads_may_wait_for_the_same_line(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    found: list[str] = []
    with shell('read line <"$0"; echo ready on "$line"; exec sleep 600', str(gate)) as child:
        waiters = [
            threading.Thread(target=lambda: found.append(child.wait_for(READY, 30)[1])) for _ in range(8)
        ]
        for waiter in waiters:
            waiter.start()
        gate.write_text("5\n")
        for waiter in waiters:
            waiter.join()
    assert found == ["5"] * 8


def test_an_early_end_is_an_error_with_status_and_log() -> None:
    with shell("echo no such luck; exit 3") as child, pytest.raises(TestingSetupError) as told:
        child.wait_for(READY, 30)
    assert "shell ended with status 3" in str(told.value)
    assert "no such luck" in str(told.value)


def test_a_command_that_does_not_exist_is_named() -> None:
    missing = "/does/not/exist"
    with ChildProcess([missing], name="ghost") as child, pytest.raises(TestingSetupError) as told:
        child.wait_for(READY, 30)
    assert f"cannot run {missing}: No such file or directory" in str(told.value)


def test_a_timeout_is_an_error_with_the_log() -> None:
    with shell("echo busy; exec sleep 600") as child:
        child.wait_for(re.compile("busy"), 30)
        with pytest.raises(TestingSetupError, match=r"did not report .* within 0\.01 s(.|\n)*busy"):
            child.wait_for(READY, 0.01)


def test_unread_output_does_not_block_the_child() -> None:
    # Some 7 MB: far more than a pipe holds.
    with shell("seq 1000000; echo ready on 2; exec sleep 600") as child:
        assert child.wait_for(READY, 60)[1] == "2"
        assert child.log_tail(3) == "999999\n1000000\nready on 2"


def test_stop_ends_the_process_and_keeps_the_log() -> None:
    child = shell("echo ready on 3; exec sleep 600").start()
    child.wait_for(READY, 30)
    child.stop()
    assert child.returncode == -signal.SIGTERM
    assert child.log_tail() == "ready on 3"
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)
    child.stop()


def test_stop_kills_what_ignores_the_request() -> None:
    stubborn = (
        "import signal; signal.signal(15, signal.SIG_IGN); print('ready on 4', flush=True); signal.pause()"
    )
    child = ChildProcess([sys.executable, "-c", stubborn], name="stubborn").start()
    child.wait_for(READY, 30)
    child.stop(grace=0.05)
    assert not child.running
    assert child.returncode == -signal.SIGKILL


def test_it_gets_exactly_the_given_environment_and_folder(tmp_path: Path) -> None:
    child = ChildProcess(
        ["/bin/sh", "-c", 'echo "$ONE $HOME"; pwd'], env={"ONE": "1"}, cwd=tmp_path, name="shell"
    )
    with child:
        child.wait_for(re.compile(re.escape(str(tmp_path))), 30)
    assert child.log_tail().splitlines()[0] == "1 "


def test_it_runs_once() -> None:
    with shell("exec sleep 600") as child, pytest.raises(RuntimeError, match="started before"):
        child.start()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to the thread that started it")
def test_the_end_of_the_thread_that_started_it_does_no_harm() -> None:
    child = shell('trap "echo asked; exit 5" USR1; echo ready on 5; while :; do sleep 0.01; done')
    native: list[int] = []

    def start() -> None:
        native.append(threading.get_native_id())
        child.start().wait_for(READY, 30)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    # join() returns a little before the thread is gone for the kernel, and that is what counts.
    while Path(f"/proc/self/task/{native[0]}").exists():
        os.sched_yield()
    try:
        os.kill(child.pid, signal.SIGUSR1)
        child.wait_for(re.compile("^asked$"), 30)
    finally:
        child.stop()


@pytest.mark.parametrize("ending", ["os.kill(os.getpid(), 9)", "os._exit(0)", "sys.exit(0)"])
def test_it_ends_with_its_parent(ending: str, run_script: Script, lifeline: Lifeline) -> None:
    parent = run_script(PARENT + ending, str(lifeline.path))
    lifeline.wait_held()
    output, _ = parent.communicate("end\n", timeout=60)
    assert output == "started\n"
    assert parent.returncode == (-9 if "kill" in ending else 0)
    lifeline.wait_ended()


def test_a_forked_process_can_start_its_own(run_script: Script) -> None:
    fork = """
import os, re
from airflow_provider_bloq.testing.process import ChildProcess
def run():
    with ChildProcess(["echo", "ready"], name="child") as child:
        child.wait_for(re.compile("^ready$"), 30)
run()
if pid := os.fork():
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
else:
    run()
    os._exit(42)
"""
    output, _ = run_script(fork, PYTHONWARNINGS="ignore").communicate(timeout=60)
    assert output == "42\n"


#: What stands between parent and command where the kernel sends no signal at the parent's death.
WATCHED = """
import os, subprocess, sys
watcher = "import sys; from airflow_provider_bloq.testing.parent_death import watch as w; "
watcher += "sys.exit(w(int(sys.argv[1]), sys.argv[2:]))"
command = ["sh", "-c", 'exec 3>"$0"; echo held >&3; exec sleep 600', sys.argv[1]]
child = subprocess.Popen([sys.executable, "-c", watcher, str(os.getpid()), *command])
sys.stdin.readline()
"""


def test_a_watched_command_ends_with_its_parent(run_script: Script, lifeline: Lifeline) -> None:
    parent = run_script(WATCHED, str(lifeline.path))
    lifeline.wait_held()
    parent.kill()
    parent.wait()
    lifeline.wait_ended()


def test_a_watched_command_is_stopped_by_the_watching_process(run_script: Script, lifeline: Lifeline) -> None:
    parent = run_script(WATCHED + "child.terminate(); print(child.wait())", str(lifeline.path))
    lifeline.wait_held()
    output, _ = parent.communicate("stop\n", timeout=60)
    lifeline.wait_ended()
    # sys.exit() of a negative number is taken modulo 256 by the system.
    assert output == f"{256 - signal.SIGTERM}\n"
