"""What fires on blocks, whether a node tells of them or Connect."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from airflow_provider_bloq.chains.tellings import Blocks, Telling
from airflow_provider_bloq.triggers.event_trigger import BloqEventTrigger

__all__ = ["BlockEvents"]


class BlockEvents(BloqEventTrigger):
    """Has the arguments and events of triggers that fire on blocks; whose blocks, the other base says.

    :param every: Fire only when a block has become final whose height this number divides; the event then tells
        of all blocks since the one before.
    :param max_range: Blocks in one event at most. With 1, each block has an event of its own.
    """

    kind: ClassVar[str] = "blocks"

    def __init__(self, *, every: int = 1, max_range: int | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.blocks = Blocks.of(every, max_range)

    @property
    def telling(self) -> Telling:
        """See :attr:`BloqEventTrigger.telling`."""
        return self.blocks

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See :meth:`BloqEventTrigger.serialize`."""
        classpath, arguments = super().serialize()
        return classpath, {**arguments, **asdict(self.blocks)}
