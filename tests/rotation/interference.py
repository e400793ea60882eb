"""What comes across a rotation: the end of its grace period, and others who act at the wrong moment."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from airflow_provider_bloq.accounts.rotation import RotationContext
from tests.rotation.team import MemoryJournal

__all__ = ["before_create", "end_grace", "overtake"]


def end_grace(journal: MemoryJournal) -> None:
    """Let the grace period of a journal be over."""
    journal.value = json.dumps(journal.read() | {"grace_until": 0.0})


def overtake(context: RotationContext, act: Callable[[], Any]) -> None:
    """Do something in the moment before the secret is written, once."""
    write, pending = context.vault.write_keys, [act]

    def written(*arguments: Any) -> int:
        while pending:
            pending.pop()()
        return write(*arguments)

    context.vault.write_keys = written  # type: ignore[assignment]


def before_create(context: RotationContext, act: Callable[[], Any]) -> None:
    """Do something in the moment before the pair is made, once."""
    create = context.create_keys

    def created() -> Any:
        act()
        return create()

    context.create_keys = created  # type: ignore[method-assign]
