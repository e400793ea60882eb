"""A process that rotates in forked children, each of which can be killed at a given step: run as a module.

Reads orders as lines of JSON and answers each with one line. Everything is loaded before the forks; there are no
threads, so forking is safe.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from airflow_provider_bloq.accounts.rotation import RotationOutcome, advance
from airflow_provider_bloq.exceptions import BloqError
from airflow_provider_bloq.flow.effects import Effect, Flow, Mask, RunBlocking, Send
from airflow_provider_bloq.flow.sync_driver import SyncDriver
from tests.accounts.team import desk_for
from tests.support.drivers import PATIENT

T = TypeVar("T")


@dataclass
class FileJournal:
    """A journal that outlives its process."""

    path: Path

    def read(self) -> Any:
        return json.loads(self.path.read_text()) if self.path.exists() else None

    def write(self, value: dict[str, Any]) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(value))
        new.replace(self.path)

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)


def killed_after(flow: Flow[T], dies_after: int | str | None, steps: list[str]) -> Flow[T]:
    """Pass on the effects of a flow, and kill the process after one of them.

    :param dies_after: Number or name of the effect; None for none.
    :param steps: The names of the effects are added to it.
    """
    answer: Any = None
    failure: Exception | None = None
    while True:
        try:
            effect = flow.send(answer) if failure is None else flow.throw(failure)
        except StopIteration as end:
            result: T = end.value
            return result
        answer, failure = None, None
        steps.append(name_of(effect))
        try:
            answer = yield effect
        except Exception as error:
            failure = error
        if dies_after == len(steps) or (isinstance(dies_after, str) and dies_after in steps[-1]):
            os.kill(os.getpid(), signal.SIGKILL)


def name_of(effect: Effect) -> str:
    match effect:
        case Send(request):
            return f"{request.method} {request.url.rpartition('/')[2]}"
        case RunBlocking(call):
            return getattr(call, "func", call).__qualname__
        case Mask():
            return "Mask"
    return type(effect).__name__


def rotate(order: dict[str, Any]) -> dict[str, Any]:
    os.environ.update(order["environment"])
    steps: list[str] = []
    driver = SyncDriver(PATIENT, mask=lambda _: None, sleep=lambda _: None)
    context = desk_for(order["desk"]).context(FileJournal(Path(order["journal"])), grace=order["grace"])
    try:
        reached = driver.run(killed_after(advance(context), order["dies_after"], steps))
    except BloqError as error:
        return {"error": f"{type(error).__name__}: {error}", "steps": steps}
    done = isinstance(reached, RotationOutcome)
    return {"reached": "the end" if done else "the grace period", "steps": steps}


def warm_up(order: dict[str, Any]) -> bool:
    """Load Airflow and hvac, which costs seconds, before the first fork; sends nothing."""
    os.environ.update(order["environment"])
    importlib.import_module("jwt")
    desk_for(order["desk"]).context(FileJournal(Path(order["journal"]))).vault.target()
    return True


def main() -> None:
    # What is logged goes to standard output as well.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    is_warm = False
    for line in sys.stdin:
        if not is_warm:
            is_warm = warm_up(json.loads(line))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writing, json.dumps(rotate(json.loads(line))).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as answers:
            answer = answers.read()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(json.dumps({"killed": killed, **json.loads(answer or b"{}")}), file=replies, flush=True)


if __name__ == "__main__":
    main()
