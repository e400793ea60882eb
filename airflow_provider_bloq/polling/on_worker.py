"""Polling a condition on the worker: once per call as sensors do, or until it holds as operators do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_bloq.exceptions import BloqError, BloqRateLimited, BloqUnavailable, BloqWaitTimeout
from airflow_provider_bloq.flow.effects import Effect, Emit, Flow, FlowSteps, Sleep, sleep
from airflow_provider_bloq.flow.events import Event
from airflow_provider_bloq.polling.conditions import Condition, Failed, Met, PollFunction, Verdict, Waiting
from airflow_provider_bloq.polling.poll import MIN_INTERVAL, PAUSE_REQUESTED, FailureBudget
from airflow_provider_bloq.polling.serialization import condition_to_json

if TYPE_CHECKING:
    from airflow_provider_bloq.hooks.bloq import BloqHook

__all__ = [
    "UNLIMITED_FAILURES",
    "ConditionPoller",
    "wait_until_met",
]

T = TypeVar("T")

#: Tolerates every transient failure until the deadline, since Bloq carries out the change meanwhile.
UNLIMITED_FAILURES = 1_000_000
#: The key in the task state store.
STATE_KEY = "bloq_sensor"


class ConditionPoller:
    """Polls one condition, and keeps what the next process needs in the task state store.

    :param hook: The hook of the connection.
    :param condition: What is waited for.
    :param max_failures: Consecutive failed polls to tolerate.
    :param deadline: The end of the wait in epoch seconds. A poll is not retried beyond it.
    :param store: The task state store (Airflow 3.3); None to remember within this process only.
    :param try_number: The task's try number.
    :param clock: Returns the time in epoch seconds.
    """

    def __init__(
        self,
        hook: BloqHook,
        condition: Condition,
        *,
        max_failures: int,
        deadline: float = math.inf,
        store: Any = None,
        try_number: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = PokeState(store, condition_to_json(condition), try_number)
        saved = self._state.read()
        self._budget = FailureBudget(
            condition, saved.get("memory"), failures=saved.get("failures", 0), max_failures=max_failures
        )
        #: Until when the service asked not to be polled, in epoch seconds; 0 if it did not.
        self.not_before: float = saved.get("not_before", 0.0)
        self._deadline = deadline
        self._clock = clock
        self._hook = hook
        self._poll_once: PollFunction | None = None

    def poll(self) -> Verdict:
        """Poll once, or not at all during a pause that the service asked for."""
        budget = self._budget
        if self._clock() < self.not_before:
            return Waiting(PAUSE_REQUESTED, budget.memory)
        verdict = self._verdict()
        if budget.retry_after:
            self.not_before = self._clock() + budget.retry_after
        if isinstance(verdict, Met | Failed):
            self.forget()
        else:
            self._state.write(
                {"memory": budget.memory, "failures": budget.failures, "not_before": self.not_before}
            )
        return verdict

    def forget(self) -> None:
        """Delete the stored state: the wait is over."""
        self._state.clear()

    def _verdict(self) -> Verdict:
        try:
            if self._poll_once is None:
                self._poll_once = self._budget.condition.target.poll_with(self._hook)
            return self._hook.run(_judged_poll(self._budget, self._poll_once, self._deadline, self._clock))
        except BloqError as error:
            # The client could not be created.
            return self._budget.failed(error)


class PokeState:
    """What a sensor remembers from one poke to the next, in the task state store.

    It is valid for one try of one condition only: days may have passed since the previous try.

    :param store: ``context["task_state_store"]`` (Airflow 3.3); None to remember nothing.
    :param condition: What is waited for, as JSON.
    :param try_number: The try number.
    """

    def __init__(self, store: Any, condition: dict[str, Any], try_number: int) -> None:
        self._store = store
        self._owner = {"condition": condition, "try_number": try_number}
        self._is_stored = False

    def read(self) -> dict[str, Any]:
        """Return what was written; empty if nothing was, or not for this wait."""
        found = self._store.get(STATE_KEY) if self._store is not None else None
        self._is_stored = found is not None
        match found:
            case {"of": owner, "noted": dict(state)} if owner == self._owner:
                return state
        return {}

    def write(self, state: dict[str, Any]) -> None:
        """Store this JSON in place of what was stored."""
        if self._store is not None:
            self._store.set(STATE_KEY, {"of": self._owner, "noted": state})
            self._is_stored = True

    def clear(self) -> None:
        """Delete what was stored."""
        if self._is_stored:
            self._store.delete(STATE_KEY)
            self._is_stored = False


def wait_until_met(
    condition: Condition,
    poll_once: PollFunction,
    *,
    poll_interval: float,
    deadline: float,
    clock: Callable[[], float] = time.time,
) -> Flow[None]:
    """Poll until a condition holds; a flow.

    :param condition: What is waited for.
    :param poll_once: Polls its target once.
    :param poll_interval: Seconds between two polls; at least 0.1. After a failed poll the pause may be longer.
    :param deadline: The end of the wait in epoch seconds. There is one more poll then, unless the service asked
        for a longer pause.
    :param clock: Returns the time in epoch seconds.
    :raises BloqError: The condition can no longer hold, or a poll failed with an error that is not transient.
    :raises BloqWaitTimeout: The deadline has passed.
    """
    budget = FailureBudget(condition, max_failures=UNLIMITED_FAILURES)
    while True:
        verdict = yield from _judged_poll(budget, poll_once, deadline, clock)
        if isinstance(verdict, Met):
            return
        if isinstance(verdict, Failed):
            raise verdict.error
        remaining = deadline - clock()
        if remaining > 0:
            yield from sleep(min(max(poll_interval, MIN_INTERVAL, budget.pause), remaining))
        if remaining <= 0 or budget.retry_after > remaining:
            raise BloqWaitTimeout(budget.reason)


def _judged_poll(
    budget: FailureBudget, poll_once: PollFunction, deadline: float, clock: Callable[[], float]
) -> Flow[Verdict]:
    interest = budget.condition.interest_after(budget.memory)
    interests = frozenset() if interest is None else frozenset({interest})
    try:
        return budget.succeeded((yield from before_deadline(poll_once(interests), deadline, clock)))
    except BloqError as error:
        return budget.failed(error)


def before_deadline(flow: Flow[T], deadline: float, clock: Callable[[], float] = time.time) -> Flow[T]:
    """Run a flow, but give up when it would sleep beyond a deadline before it tries a request again.

    The client retries each request, for minutes if the service asks for that.

    :param flow: The flow.
    :param deadline: The deadline in epoch seconds.
    :param clock: Returns the time in epoch seconds.
    :raises BloqRateLimited: The service asked for the pause.
    :raises BloqUnavailable: The pause is the client's.
    """
    previous: Effect | None = None
    with FlowSteps(flow) as steps:
        for effect in steps:
            if isinstance(effect, Sleep) and clock() + effect.seconds > deadline:
                raise _out_of_time(effect.seconds, previous)
            previous = effect
            try:
                steps.answer = yield effect
            except Exception as error:
                steps.failure = error
        return steps.result


def _out_of_time(seconds: float, previous: Effect | None) -> BloqRateLimited | BloqUnavailable:
    match previous:
        case Emit(Event(name="held_back", fields={"by_service": True})):
            return BloqRateLimited(
                f"The service asks for a pause of {seconds:.0f} s, longer than there is time to wait.",
                retry_after=seconds,
            )
    return BloqUnavailable("A poll failed, and there is no time left to retry it.", acted=False)
