"""A place in a store that many processes share, which holds one record at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_provider_bloq.auth.flow import Flow

__all__ = ["Record", "Slot"]


@dataclass(frozen=True, slots=True)
class Record:
    """What a slot holds.

    :param version: Counts the writes; a write names the version that it follows. 0 before the first one.
    :param fields: What was written; None where there is nothing, or nothing any more. Left out of the repr.
    :param age: Seconds since it was written, by the store's own clock alone.
    """

    version: int
    fields: Mapping[str, Any] | None = field(default=None, repr=False)
    age: float = 0.0


class Slot(Protocol):
    """One such place."""

    @property
    def description(self) -> str:
        """Name the place for a person; no secret in it."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Tell this place, and whoever acts there, from any other; secrets take part only as digests.

        :raises BloqConfigurationError: The store is set up wrongly.
        """

    def read(self) -> Flow[Record]:
        """Read what it holds now.

        :raises BloqConfigurationError: The store is set up wrongly, or does not permit it.
        :raises BloqVaultUnavailable: The store cannot be reached at present.
        """

    def write(self, fields: Mapping[str, Any], *, after: int) -> Flow[int | None]:
        """Write a record, unless the slot was written since it was read.

        :param fields: The whole record.
        :param after: The version that was read.
        :return: The version that was written; None where another came first.
        :raises BloqConfigurationError: The store is set up wrongly, or does not permit it.
        :raises BloqVaultUnavailable: The store cannot be reached at present; it may have written.
        """

    def forget(self) -> None:
        """Drop whatever makes the next access cheaper. For a forked child."""
