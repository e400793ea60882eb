"""What is remembered of a transaction from one look to the next."""

from __future__ import annotations

from dataclasses import dataclass, replace

from airflow_provider_bloq.chains.standing import Uses
from airflow_provider_bloq.conditions.condition import Memory

__all__ = ["Past"]


@dataclass(frozen=True, slots=True)
class Past:
    """What the looks so far have seen.

    :param uses: What the transaction uses, which nothing can use twice.
    :param mined_at: Height of the last block that it was seen in.
    :param overtaken_at: Height of the head when what it uses was first seen used by another.
    :param unknown_since: When it was first unknown to the node, in seconds since the epoch.
    """

    uses: Uses = ()
    mined_at: int | None = None
    overtaken_at: int | None = None
    unknown_since: float | None = None

    @classmethod
    def from_json(cls, memory: Memory | None) -> Past:
        """Read what :meth:`to_json` wrote."""
        memory = memory or {}
        return cls(
            tuple((str(what), int(number)) for what, number in memory.get("uses", ())),
            memory.get("mined_at"),
            memory.get("overtaken_at"),
            memory.get("unknown_since"),
        )

    def to_json(self) -> Memory:
        """Write it as JSON."""
        return {
            "uses": [list(use) for use in self.uses],
            "mined_at": self.mined_at,
            "overtaken_at": self.overtaken_at,
            "unknown_since": self.unknown_since,
        }

    def with_uses(self, uses: Uses) -> Past:
        """Return it with what the transaction is now known to use, if it is known."""
        return replace(self, uses=uses) if uses else self

    def seen_in(self, height: int) -> Past:
        """Return it after the transaction was seen in a block."""
        return Past(self.uses, mined_at=height)

    @property
    def was_seen(self) -> bool:
        """Whether the transaction was known to the node at any look."""
        return bool(self.uses) or self.mined_at is not None

    def after_reorg(self) -> str:
        """Return, for a person, that it was in a block before; empty if it was not."""
        return "" if self.mined_at is None else f", since a reorg took it out of block {self.mined_at}"

    def how_used(self) -> str:
        """Return, for a person, what it would use."""
        return ", ".join(f"{what} {number}" for what, number in self.uses)
