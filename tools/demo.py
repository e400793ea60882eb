"""The quickstart DAG in a real Airflow, with real Vault and local Bloq: ``make demo``, ``make up``, ``make up-celery``.

While a task of the DAG calls a node, its access token expires, all its tokens are revoked, and its
client keys are rotated in Vault. The demo succeeds only if all of this happened and no call failed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from airflow_provider_bloq.testing.airflow import AirflowProcesses, LocalAirflow
from airflow_provider_bloq.testing.local import LocalBloqOptions
from airflow_provider_bloq.testing.stack import LocalStack

ROOT = Path(__file__).resolve().parent.parent
DAGS = ROOT / "example_dags"
DAG = "bloq_quickstart"
#: Seconds that an access token lives here, so that one task outlives several.
ACCESS_TOKEN_SECONDS = 6
#: How often the task looks at the chain, and the seconds in between.
CALLS, PAUSE = 60, 0.5
EVENT_TIMEOUT = 120.0


class Story:
    """Tells what happens as it happens."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def tell(self, text: str) -> None:
        print(f"[{time.monotonic() - self._begun:5.1f} s] {text}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--up", action="store_true", help="keep everything running until Ctrl-C")
    parser.add_argument("--celery", action="store_true", help="run the tasks on two Celery workers")
    arguments = parser.parse_args()
    # So that a kill cleans up as well as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # A shell that starts it in the background has it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    story = Story()
    options = LocalBloqOptions(access_token_seconds=ACCESS_TOKEN_SECONDS) if not arguments.up else None
    try:
        with LocalStack(options) as stack:
            story.tell(f"Vault (OpenBao) serves at {stack.vault.url}; it holds the client keys.")
            story.tell(f"Bloq Accounts serves at {stack.bloq.accounts_url}, Nodes at {stack.bloq.nodes_url}.")
            story.tell("Starting Airflow ...")
            with celery_airflow() if arguments.celery else LocalAirflow(DAGS) as airflow:
                for conn_id, fields in stack.connections().items():
                    airflow.add_connection(conn_id, fields)
                story.tell(f"Airflow serves at {airflow.url}; it knows where the keys are, not the keys.")
                return stay_up(airflow, story) if arguments.up else demonstrate(stack, airflow, story)
    except KeyboardInterrupt:
        story.tell("Interrupted.")
        return 130


def celery_airflow() -> AirflowProcesses:
    # It belongs to the tests, which are not installed.
    sys.path.insert(0, str(ROOT))
    from tests.support.celery_airflow import LocalCeleryAirflow

    return LocalCeleryAirflow(DAGS)


def stay_up(airflow: AirflowProcesses, story: Story) -> int:
    user, password = airflow.login
    story.tell(f"Open {airflow.url} and log in as {user} with the password {password}.")
    story.tell(f"The DAG {DAG} is ready to be triggered. Ctrl-C ends everything.")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        story.tell("Stopping.")
    return 0


def demonstrate(stack: LocalStack, airflow: AirflowProcesses, story: Story) -> int:
    bloq = stack.bloq
    run = airflow.trigger(DAG, {"calls": CALLS, "pause": PAUSE})
    story.tell(f"DAG {DAG} started.")
    until(lambda: rpc_calls(stack) > 2, "the task calls its node")
    story.tell("A task calls the node that the DAG created, by JSON-RPC, twice a second.")

    until(lambda: bloq.counters().refreshes > 0, "the access token is refreshed")
    story.tell("The access token neared its end and was renewed with the refresh token.")

    mints, refused = bloq.counters().mints, unauthorized(stack)
    stack.revoke_tokens()
    story.tell("All tokens revoked.")
    until(lambda: bloq.counters().mints > mints, "a token is minted after the revocation")
    # A second refusal of the very same call would be an error, and rightly: the rotation waits for it.
    served = answered(stack)
    until(lambda: answered(stack) > served + 1, "the task's calls are answered again")
    survived_revocation = unauthorized(stack) > refused
    story.tell("The next call was answered 401; a new token was minted from the keys, and the call repeated.")

    reads, mints = stack.key_reads(), bloq.counters().mints
    stack.rotate_keys()
    story.tell("Client keys rotated: a new pair is in Vault, the old pair and its tokens are gone.")
    until(lambda: stack.key_reads() > reads, "the keys are read again from Vault")
    until(lambda: bloq.counters().mints > mints, "a token is minted from the new keys")
    story.tell("The keys were read from Vault again, and a token was minted from the new pair.")

    state = airflow.wait(DAG, run)
    tasks = airflow.tasks(DAG, run)
    story.tell(f"DAG ended: {state}.")
    for task in sorted(tasks, key=lambda task: task["start_date"] or ""):
        print(f"          {task['task_id']:14} {task['state']}, {task['try_number']} try")
    counts = bloq.counters()
    print(
        f"          Vault reads {stack.key_reads()}, mints {counts.mints}, refreshes {counts.refreshes}, "
        f"401s survived {unauthorized(stack)}, calls {sum(counts.calls.values())} "
        f"(of these by JSON-RPC {rpc_calls(stack)})"
    )
    happened = {
        "the run succeeded": state == "success",
        "no task needed a second try": all(task["try_number"] == 1 for task in tasks),
        "every task succeeded": all(task["state"] == "success" for task in tasks),
        "a 401 was met and survived": survived_revocation,
        "every call by JSON-RPC was made": rpc_calls(stack) >= CALLS,
    }
    for what, true in happened.items():
        if not true:
            story.tell(f"NOT SO: {what}.")
    story.tell("All of it worked." if all(happened.values()) else "The demo failed.")
    return 0 if all(happened.values()) else 1


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + EVENT_TIMEOUT
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"This did not happen within {EVENT_TIMEOUT:.0f} s: {what}")
        pause.wait(0.1)


def rpc_calls(stack: LocalStack) -> int:
    return sum(sum(methods.values()) for methods in stack.bloq.counters().rpc_calls.values())


def answered(stack: LocalStack) -> int:
    return stack.bloq.counters().statuses.get("rpc 200", 0)


def unauthorized(stack: LocalStack) -> int:
    return sum(stack.bloq.counters().unauthorized.values())


if __name__ == "__main__":
    sys.exit(main())
