"""Creates whose task process is killed at a given point of the first try, by SIGKILL, as the kernel would."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, NoReturn

from airflow.sdk import DAG

from airflow_provider_bloq.flow.effects import Effect, Flow, RunBlocking, Send
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.operators.nodes import BloqCreateNodeOperator

RETRIES: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(0), "retry_policy": None}


@dataclass(frozen=True)
class Death:
    """At the n-th effect of a kind, counted from the create request on; that one is still carried out or not."""

    kind: type[Effect]
    number: int = 1
    carried_out: bool = False


#: What the first tries die of.
DEATHS = {
    "before_the_request": Death(Send),
    "after_the_request": Death(Send, carried_out=True),
    "before_the_state_is_saved": Death(RunBlocking, number=2),
    # At its first look, which there is however soon the node starts.
    "while_waiting": Death(Send, number=2, carried_out=True),
}


def die() -> NoReturn:
    """Let the process vanish, without a chance to do anything about it."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("this process is dead")


class MortalHook(BloqHook):
    """A hook whose process dies of one of these."""

    def __init__(self, conn_id: str, death: Death) -> None:
        super().__init__(conn_id)
        self._death = death
        self._has_created = False
        self._seen = 0

    def run(self, flow: Flow[Any], /) -> Any:
        return super().run(self._mortal(flow))

    def _mortal(self, flow: Flow[Any]) -> Flow[Any]:
        answer: Any = None
        failure: Exception | None = None
        while True:
            try:
                effect = flow.send(answer) if failure is None else flow.throw(failure)
            except StopIteration as end:
                return end.value
            dies = self._dies_of(effect)
            if dies and not self._death.carried_out:
                die()
            answer, failure = None, None
            try:
                answer = yield effect
            except Exception as error:
                failure = error
            if dies:
                die()

    def _dies_of(self, effect: Effect) -> bool:
        if isinstance(effect, Send):
            request = effect.request
            self._has_created |= request.method == "POST" and request.url.endswith("/users/me/nodes")
        if not self._has_created or not isinstance(effect, self._death.kind):
            return False
        self._seen += 1
        return self._seen == self._death.number


class MortalCreate(BloqCreateNodeOperator):
    """A create whose first try dies.

    :param dies: Where: one of :data:`DEATHS`, or ``after_success``, or ``after_the_event``; None if it lives.
    """

    def __init__(self, *, dies: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dies = dies
        self._is_first = False

    @cached_property
    def hook(self) -> BloqHook:
        if self._is_first and self.dies in DEATHS:
            return MortalHook(self.bloq_conn_id, DEATHS[self.dies])
        return BloqHook(self.bloq_conn_id)

    def execute(self, context: Any) -> dict[str, Any]:
        self._is_first = context["ti"].try_number == 1
        result = super().execute(context)
        if self._is_first and self.dies == "after_success":
            die()
        return result

    def execute_complete(self, context: Any, event: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if context["ti"].try_number == 1 and self.dies == "after_the_event":
            die()
        return super().execute_complete(context, event, *args, **kwargs)


with DAG("mortal_creates", schedule=None):
    # Each creates of a service and an auth type of its own: so they are told apart.
    for position, point in enumerate([*DEATHS, "after_success", "after_the_event"]):
        MortalCreate(
            task_id=point,
            bloq_conn_id="bloq_brisk",
            service_id=f"{{{{ dag_run.conf['services'][{position}] }}}}",
            exclusive_creates=True,
            poll_interval=0.2,
            dies=point,
            deferrable=point == "after_the_event",
            **RETRIES,
        )

with DAG("mapped_creates", schedule=None):
    mapped: dict[str, Any] = {
        "bloq_conn_id": "bloq_brisk",
        "wait_for_completion": False,
        **RETRIES,
    }
    fates = [None, None, "after_the_request", None, None]
    MortalCreate.partial(
        task_id="one_at_a_time",
        service_id="{{ dag_run.conf['services'][0] }}",
        exclusive_creates=True,
        pool="bloq_one_slot",
        **mapped,
    ).expand(dies=fates)
    MortalCreate.partial(
        task_id="all_at_once", service_id="{{ dag_run.conf['services'][1] }}", **mapped
    ).expand(dies=fates)

with DAG("killed_creates", schedule=None):
    kinds: dict[str, dict[str, Any]] = {
        "left_alone": {"deferrable": True},
        "undone_by_the_triggerer": {"deferrable": True, "cancel_on_kill": True},
        "undone_by_the_worker": {"deferrable": False, "cancel_on_kill": True},
    }
    for name, options in kinds.items():
        BloqCreateNodeOperator(
            task_id=name,
            bloq_conn_id="bloq_endless",
            service_id="{{ dag_run.conf['service'] }}",
            poll_interval=0.2,
            **options,
        )
