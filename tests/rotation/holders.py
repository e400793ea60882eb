"""Many processes that hold tokens while the client keys are rotated: run as a module.

Reads one order, forks that many holders, says ``held`` once each of them has a token and has used it,
waits for one more line, has each call again, and tells how that went.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from tests.rotation.callers import Caller


def hold(order: dict[str, Any], told: int, go: int) -> None:
    """Take a token, use it, tell so, wait, and use whatever works then."""
    caller = Caller(order["accounts_url"], order["nodes_url"], order["conn_id"], order["path"])
    try:
        caller.call()
        os.write(told, b"held\n")
        os.read(go, 1)
        caller.call()
        os.write(told, b"served\n")
    except Exception as error:
        os.write(told, f"{type(error).__name__}: {error}".replace("\n", " ").encode()[:400] + b"\n")


def main() -> None:
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    order = json.loads(sys.stdin.readline())
    os.environ.update(order["environment"])
    # Loads Airflow and hvac before the forks, and sends nothing.
    Caller(order["accounts_url"], order["nodes_url"], order["conn_id"], order["path"]).warm_up()
    reading, told = os.pipe()
    go, start = os.pipe()
    children = []
    for _ in range(order["holders"]):
        child = os.fork()
        if child == 0:
            os.close(start)
            try:
                hold(order, told, go)
            finally:
                os._exit(0)
        children.append(child)
    os.close(told)
    answers = os.fdopen(reading)
    first = [answers.readline().strip() for _ in children]
    print(json.dumps(first), file=replies, flush=True)
    sys.stdin.readline()
    # To close it is to wake them all.
    os.close(start)
    second = [answers.readline().strip() for _ in children]
    for child in children:
        os.waitpid(child, 0)
    print(json.dumps(second), file=replies, flush=True)


if __name__ == "__main__":
    main()
