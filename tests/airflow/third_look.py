"""A condition that remembers how often it has been judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_provider_bloq.nodes.conditions import NodeList
from airflow_provider_bloq.polling.conditions import Condition, Memory, Met, Target, Verdict, Waiting

__all__ = ["ThirdLook"]


@dataclass(frozen=True)
class ThirdLook(Condition):
    """Holds at the third look."""

    kind: ClassVar[str] = "third_look"

    @property
    def target(self) -> Target:
        return NodeList()

    def judge(self, seen: Any, memory: Memory | None) -> Verdict:
        count = (memory or {"looks": 0})["looks"] + 1
        return Met(count) if count == 3 else Waiting(f"look {count}", {"looks": count})
