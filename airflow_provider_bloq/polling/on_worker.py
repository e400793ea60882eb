"""A look that does not outlast the wait that it is made for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

from airflow_provider_bloq.exceptions import BloqError, BloqRateLimited, BloqUnavailable, BloqWaitTimeout
from airflow_provider_bloq.flow.effects import Effect, Emit, Flow, FlowSteps, Sleep, sleep
from airflow_provider_bloq.flow.events import Event
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.polling.conditions import Condition, Failed, Met, PollFunction, Verdict, Waiting
from airflow_provider_bloq.polling.poll import ASKED, SHORTEST_INTERVAL, FailureBudget
from airflow_provider_bloq.polling.serialization import condition_to_json

__all__ = [
    "UNLIMITED_FAILURES",
    "ConditionPoller",
    "PokeState",
    "in_time",
    "wait_until_met",
]


T = TypeVar("T")


def in_time(look: Flow[T], deadline: float, clock: Callable[[], float] = time.time) -> Flow[T]:
    """Look, and give up where the client would pause beyond the deadline before it asks again; a flow.

    The client tries each request several times, for minutes where the service asks for that. Whoever waits no
    longer than some seconds need not know.

    :param look: Looks once.
    :param deadline: Until when to wait, in epoch seconds.
    :param clock: The time in epoch seconds.
    :raises BloqRateLimited: The service asks for a pause beyond the deadline.
    :raises BloqUnavailable: The client's own pause would end beyond it.
    """
    before: Effect | None = None
    with FlowSteps(look) as steps:
        for effect in steps:
            if isinstance(effect, Sleep) and clock() + effect.seconds > deadline:
                raise _given_up(effect.seconds, before)
            before = effect
            try:
                steps.answer = yield effect
            except Exception as error:
                steps.failure = error
        return steps.result


def _given_up(seconds: float, before: Effect | None) -> BloqRateLimited | BloqUnavailable:
    match before:
        case Emit(Event(name="held_back", fields={"by_service": True})):
            return BloqRateLimited(
                f"The service asks for a pause of {seconds:.0f} s, longer than there is time to wait.",
                retry_after=seconds,
            )
    return BloqUnavailable("A look failed, and there is no time left to try it again.", acted=False)


#: The key in the task state store.
KEY = "bloq_sensor"


class PokeState:
    """Notes in the task state store, which Airflow has from 3.3 on. Without a store nothing is remembered.

    They are good for one try that waits for one condition: what a try before has left is not believed, since
    days may lie between the two.

    :param store: ``context["task_state_store"]``; None where there is none.
    :param condition: What is waited for, as JSON.
    :param try_number: The number of the try.
    """

    def __init__(self, store: Any, condition: dict[str, Any], try_number: int) -> None:
        self._store = store
        self._of = {"condition": condition, "try_number": try_number}
        self._are_there = False

    def read(self) -> dict[str, Any]:
        """Return what was noted; empty where there is nothing, or nothing of this wait."""
        found = self._store.get(KEY) if self._store is not None else None
        self._are_there = found is not None
        match found:
            case {"of": of, "noted": dict(noted)} if of == self._of:
                return noted
        return {}

    def write(self, noted: dict[str, Any]) -> None:
        """Note this instead of what was noted.

        :param noted: JSON.
        """
        if self._store is not None:
            self._store.set(KEY, {"of": self._of, "noted": noted})
            self._are_there = True

    def clear(self) -> None:
        """Throw the notes away: the wait is over."""
        if self._are_there:
            self._store.delete(KEY)
            self._are_there = False


class ConditionPoller:
    """Looks for one condition, again and again.

    :param hook: The hook of the connection.
    :param condition: What is waited for.
    :param patience: Looks that may fail in a row.
    :param deadline: The end of the wait, in epoch seconds: no look goes on beyond it only to try again.
    :param store: Where to remember what the next process must know; None to remember it here only.
    :param try_number: The number of the task's try.
    :param clock: Tells the seconds since the epoch.
    """

    def __init__(
        self,
        hook: BloqHook,
        condition: Condition,
        *,
        patience: int,
        deadline: float = math.inf,
        store: Any = None,
        try_number: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._notes = PokeState(store, condition_to_json(condition), try_number)
        noted = self._notes.read()
        self._wait = FailureBudget(
            condition, noted.get("memory"), failures=noted.get("failures", 0), patience=patience
        )
        #: Until when the service has asked to be left alone, in epoch seconds; 0 if it has not.
        self.not_before: float = noted.get("not_before", 0.0)
        self._deadline = deadline
        self._clock = clock
        self._hook = hook
        self._observe: Any = None

    def look(self) -> Verdict:
        """Look once; not at all while the service has asked to be left alone."""
        if self._clock() < self.not_before:
            return Waiting(ASKED, self._wait.memory)
        verdict = self._judged()
        if isinstance(verdict, Met | Failed):
            self.forget()
        else:
            self._remember()
        return verdict

    def forget(self) -> None:
        """Remember nothing any more: the wait is over."""
        self._notes.clear()

    def _judged(self) -> Verdict:
        wait = self._wait
        try:
            if self._observe is None:
                self._observe = wait.condition.target.poll_with(self._hook)
            interest = wait.condition.interest_after(wait.memory)
            interests = frozenset([interest] if interest is not None else [])
            look = in_time(self._observe(interests), self._deadline, self._clock)
            return wait.saw(self._hook.run(look))
        except BloqError as error:
            verdict = wait.missed(error)
            if wait.asked:
                self.not_before = self._clock() + wait.asked
            return verdict

    def _remember(self) -> None:
        noted = {
            "memory": self._wait.memory,
            "failures": self._wait.failures,
            "not_before": self.not_before,
        }
        self._notes.write(noted)


#: Failed looks in a row that are borne. The deadline is patience enough: what was begun goes on meanwhile.
UNLIMITED_FAILURES = 1_000_000


def wait_until_met(
    condition: Condition,
    observe: PollFunction,
    *,
    poll_interval: float,
    deadline: float,
    clock: Callable[[], float] = time.time,
) -> Flow[None]:
    """Look again and again until a condition holds; a flow.

    After a look that failed it lets the service be for a while, as the triggers do: for at least as long as that
    asks for.

    :param condition: What is waited for.
    :param observe: Looks once.
    :param poll_interval: Seconds between two looks; at least 0.1.
    :param deadline: Until when to wait, in epoch seconds. There is one more look when it has come, unless the
        service asks to be let be for longer.
    :param clock: The time in epoch seconds.
    :raises BloqError: It will not hold any more, or a look failed in a way that does not pass.
    :raises BloqWaitTimeout: It does not hold in time.
    """
    wait = FailureBudget(condition, patience=UNLIMITED_FAILURES)
    interests = frozenset() if condition.interest is None else frozenset({condition.interest})
    while True:
        try:
            verdict = wait.saw((yield from in_time(observe(interests), deadline, clock)))
        except BloqError as error:
            verdict = wait.missed(error)
        if isinstance(verdict, Met):
            return
        if isinstance(verdict, Failed):
            raise verdict.error
        remaining = deadline - clock()
        if remaining > 0:
            yield from sleep(min(max(poll_interval, SHORTEST_INTERVAL, wait.pause), remaining))
        if remaining <= 0 or wait.asked > remaining:
            raise BloqWaitTimeout(wait.reason)
