"""Rotations whose task process is killed once, by SIGKILL, right after it has done a given thing."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_provider_bloq.flow.effects import Effect, Flow, RunBlocking, Send
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.operators.client_keys import BloqRotateClientKeysOperator

#: By task: what the process that is killed does last, and how long both pairs work.
DEATHS = {
    "after_the_create": ("POST client-keys", timedelta(seconds=1)),
    "after_the_write": ("write_keys", timedelta(seconds=1)),
    "after_the_delete": ("DELETE", timedelta(seconds=1)),
    "within_grace": ("write_keys", timedelta(days=1)),
}


def told(effect: Effect) -> str:
    """Name what an effect does."""
    match effect:
        case Send(request):
            return f"{request.method} {request.url.rpartition('/')[2]}"
        case RunBlocking(call):
            return str(getattr(call, "func", call).__qualname__)
    return type(effect).__name__


class MortalHook(BloqHook):
    """A hook whose process vanishes, without a chance to do anything about it, unless one has before."""

    def __init__(self, conn_id: str, dies_after: str, obituary: Path) -> None:
        super().__init__(conn_id)
        self._dies_after = dies_after
        self._obituary = obituary

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
            answer, failure = None, None
            try:
                answer = yield effect
            except Exception as error:
                failure = error
            if self._dies_after in told(effect) and not self._obituary.exists():
                self._obituary.touch()
                os.kill(os.getpid(), signal.SIGKILL)


class MortalRotation(BloqRotateClientKeysOperator):
    """A rotation that dies once.

    :param dies_after: What it has done then.
    :param obituary: The file that tells of it.
    """

    template_fields = (*BloqRotateClientKeysOperator.template_fields, "obituary")

    def __init__(self, *, dies_after: str, obituary: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dies_after = dies_after
        self.obituary = obituary

    @cached_property
    def hook(self) -> BloqHook:
        return MortalHook(self.bloq_conn_id, self.dies_after, Path(self.obituary))


with DAG("mortal_rotation", schedule=None):
    for name, (last, grace) in DEATHS.items():
        MortalRotation(
            task_id=name,
            bloq_conn_id=f"{{{{ dag_run.conf['{name}']['bloq'] }}}}",
            account_vault_conn_id=f"{{{{ dag_run.conf['{name}']['account'] }}}}",
            account_vault_path=f"{{{{ dag_run.conf['{name}']['account_path'] }}}}",
            grace=grace,
            deferrable=True,
            dies_after=last,
            obituary=f"{{{{ dag_run.conf['{name}']['obituary'] }}}}",
            # More than its death takes: on a slow machine, a service may answer too late.
            retries=5,
            retry_delay=timedelta(0),
            # Its delays are for services, not for tests.
            retry_policy=None,
        )
