"""Which block of a chain counts as final: one with so many confirmations, or the one that the node calls so."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_bloq.clients.limits import require_choice, require_whole_number
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["DEFAULT_CONFIRMATIONS", "TAGS", "Finality"]

#: Confirmations unless told otherwise: three minutes on Ethereum, two hours on Bitcoin.
DEFAULT_CONFIRMATIONS = 12
#: What nodes of EVM chains with proof of stake can tell of: a block that cannot be undone without burning a
#: third of the stake, and one that an honest majority has agreed on.
TAGS = ("finalized", "safe")


@dataclass(frozen=True, slots=True)
class Finality:
    """When a block is final. Make it by :meth:`of`; exactly one of the fields is set.

    :param confirmations: How many it has, as for :class:`~.conditions.blocks.BlockReached`: the head has one.
    :param tag: ``finalized`` or ``safe``: it is not above the block that the node calls so.
    """

    confirmations: int | None = None
    tag: str | None = None

    @classmethod
    def of(cls, confirmations: int | None = None, tag: str | None = None) -> Finality:
        """Read it from the two arguments that triggers take; without either it is 12 confirmations.

        :raises BloqConfigurationError: Both are given, or one of them cannot be.
        """
        if tag is None:
            confirmations = DEFAULT_CONFIRMATIONS if confirmations is None else confirmations
            require_whole_number("confirmations", confirmations, least=1)
            return cls(confirmations=confirmations)
        if confirmations is not None:
            raise BloqConfigurationError.of(
                "finality", "confirmations are given beside it", "Give one of the two."
            )
        require_choice("finality", tag, TAGS)
        return cls(tag=tag)

    def height_below(self, head: int) -> int:
        """Return the height of the last final block, given that of the head; negative if there is none."""
        return head - (self.confirmations or 1) + 1
