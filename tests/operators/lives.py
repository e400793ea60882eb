"""A task over its tries: what Airflow keeps for it from one to the next, and a worker that dies at a given point."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from airflow_provider_bloq.flow.effects import Effect, Flow, RunBlocking, Send, Sleep
from airflow_provider_bloq.flow.sync_driver import SyncDriver
from airflow_provider_bloq.hooks._account import network_of
from airflow_provider_bloq.hooks.bloq import BloqHook

__all__ = ["POINTS", "FakeRun", "FakeTime", "Killed", "Point", "TaskLife"]


class Killed(BaseException):
    """The worker is gone. No code of the product can catch this, as it cannot catch SIGKILL."""


@dataclass(frozen=True)
class Point:
    """Where a worker dies: before or after the n-th effect of a kind.

    :param counted_from_create: Whether to count from the create request on, or from the try's beginning.
    """

    name: str
    kind: type[Effect]
    number: int = 1
    after: bool = False
    counted_from_create: bool = True


POINTS = (
    Point("before the POST", Send),
    Point("after the POST, before its answer", Send, after=True),
    Point("after the answer, before anything is saved", RunBlocking),
    Point("after the answer, before the state is saved", RunBlocking, number=2),
    Point("after the state is saved", RunBlocking, number=2, after=True),
    Point("while waiting", Sleep),
)


class FakeTime:
    """Time that passes only when the product sleeps."""

    def __init__(self) -> None:
        self.now = time.time()
        self.pauses: list[float] = []
        self.in_pauses: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)
        self.in_pauses()


class FakeStore:
    """The task state store: JSON by name."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.kept[key]) if key in self.kept else default

    def set(self, key: str, value: Any) -> None:
        assert value is not None
        self.kept[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.kept.pop(key, None)


@dataclass
class FakeRun:
    """One DAG run: its tasks by id, and the XComs that they can read of each other."""

    tasks: list[Any] = field(default_factory=list)
    xcoms: dict[tuple[str, int, str], Any] = field(default_factory=dict)

    def pull(self, task_ids: Iterable[str], key: str) -> list[Any]:
        return [
            value for (task_id, _, name), value in self.xcoms.items() if task_id in task_ids and name == key
        ]


class MortalHook(BloqHook):
    """A hook whose process can die at a point, and whose sleep takes no time."""

    def __init__(self, conn_id: str, passing: FakeTime, point: Point | None) -> None:
        super().__init__(conn_id)
        self._time = passing
        self._point = point
        self._counted = 0
        self._has_created = False

    @cached_property
    def _driver(self) -> SyncDriver:
        return SyncDriver(network_of(self.settings), mask=lambda _: None, sleep=self._time.sleep)

    def run(self, flow: Flow[Any], /) -> Any:
        return super().run(flow if self._point is None else self._mortal(flow, self._point))

    def _mortal(self, flow: Flow[Any], point: Point) -> Flow[Any]:
        answer: Any = None
        failure: Exception | None = None
        while True:
            try:
                effect = flow.send(answer) if failure is None else flow.throw(failure)
            except StopIteration as end:
                return end.value
            struck = self._strikes(effect, point)
            if struck and not point.after:
                raise Killed
            answer, failure = None, None
            try:
                answer = yield effect
            except Exception as error:
                failure = error
            if struck:
                raise Killed

    def _strikes(self, effect: Effect, point: Point) -> bool:
        creates = isinstance(effect, Send) and is_create(effect)
        self._has_created = self._has_created or creates
        if not isinstance(effect, point.kind) or (point.counted_from_create and not self._has_created):
            return False
        self._counted += 1
        return self._counted == point.number


def is_create(effect: Send) -> bool:
    """Tell whether this is the request of a create."""
    return effect.request.method == "POST" and "/users/me/" in effect.request.url


@dataclass
class TaskLife:
    """One task instance over its tries.

    :param make: Makes its operator.
    :param run: The DAG run that it belongs to.
    :param time: The worker's time.
    :param map_index: Its place among mapped ones.
    :param retries: How often it may be tried again.
    :param has_store: Whether Airflow has a state store (3.3).
    """

    make: Callable[[], Any]
    run: FakeRun = field(default_factory=FakeRun)
    time: FakeTime = field(default_factory=FakeTime)
    map_index: int = -1
    retries: int = 3
    has_store: bool = True
    store: FakeStore = field(default_factory=FakeStore)
    try_number: int = 0
    max_tries: int | None = None
    operator: Any = None

    def attempt(self, die: Point | None = None) -> Any:
        """Make the next try.

        :param die: Where the worker dies in it.
        :raises Killed: It did.
        """
        self.try_number += 1
        self.max_tries = self.retries if self.max_tries is None else self.max_tries
        for key in [key for key in self.run.xcoms if key[:2] == (self._task_id, self.map_index)]:
            # As Airflow does when a try begins.
            del self.run.xcoms[key]
        self._take_up_work(die)
        result = self.operator.execute(self.context)
        self.run.xcoms[self._task_id, self.map_index, "return_value"] = result
        return result

    def resume(self, event: Any, **kwargs: Any) -> Any:
        """Go on after the trigger, on another worker."""
        self._take_up_work(None)
        return self.operator.resume_execution("execute_complete", {"event": event, **kwargs}, self.context)

    def resume_without_trigger(self, error: str) -> Any:
        """Go on as where Airflow has ended the trigger, and thrown the arguments of the resumed task away.

        :param error: What Airflow says.
        """
        self._take_up_work(None)
        return self.operator.resume_execution("__fail__", {"error": error}, self.context)

    def clear(self) -> None:
        """Do what Airflow does when a person clears the task."""
        self.max_tries = self.try_number + self.retries

    @property
    def context(self) -> dict[str, Any]:
        ti = SimpleNamespace(
            task_id=self._task_id,
            map_index=self.map_index,
            max_tries=self.max_tries,
            try_number=self.try_number,
            xcom_push=self._push,
            xcom_pull=self._pull,
        )
        context = {"ti": ti, "task": self.operator}
        return {**context, "task_state_store": self.store} if self.has_store else context

    @property
    def note(self) -> Any:
        """What the store holds of the create."""
        return self.store.get("bloq_create")

    @property
    def _task_id(self) -> str:
        return str(self.make().task_id)

    def _take_up_work(self, die: Point | None) -> None:
        operator = self.make()
        passing = self.time
        operator.__dict__["hook"] = MortalHook(operator.bloq_conn_id, passing, die)
        operator.__dict__["clock"] = lambda: passing.now
        self.operator = operator

    def _pull(self, task_ids: str | list[str], key: str, map_indexes: int | None = None) -> Any:
        if isinstance(task_ids, list):
            return self.run.pull(task_ids, key)
        assert map_indexes is not None, "Airflow would give a list where the task is mapped"
        return self.run.xcoms.get((task_ids, map_indexes, key))

    def _push(self, key: str, value: Any) -> None:
        self.run.xcoms[self._task_id, self.map_index, key] = value
