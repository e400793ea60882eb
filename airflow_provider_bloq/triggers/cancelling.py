"""Triggers that can undo what their task has begun, if a person kills it while it waits."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.triggers.waiting import BloqWaitTrigger

__all__ = ["CancellingTrigger"]


class CancellingTrigger(BloqWaitTrigger):
    """Waits like its base class.

    A person kills a waiting task by marking it as failed or successful, or by clearing it. Airflow 3.3 tells the
    trigger so; 3.1 and 3.2 do not, and a restart of the triggerer is none.

    :param cancel_on_kill: Whether to undo then what the task has begun.
    """

    def __init__(self, *args: Any, cancel_on_kill: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments by which the triggerer makes it anew."""
        kind, arguments = super().serialize()
        return kind, {**arguments, "cancel_on_kill": self.cancel_on_kill}

    async def on_kill(self) -> None:
        """Undo what the task has begun, if ``cancel_on_kill`` says so."""
        if self.cancel_on_kill:
            async with BloqAsyncHook(self.bloq_conn_id) as hook:
                await self.cancel(hook)

    @abstractmethod
    async def cancel(self, hook: BloqAsyncHook) -> None:
        """Undo what the task has begun."""
