"""What can go wrong in starting or steering the local service."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "LocalBloqConfigurationError",
    "LocalBloqError",
    "UnknownThing",
]


class LocalBloqError(Exception):
    """Root of the errors that the local service raises in the process that runs it."""


class LocalBloqConfigurationError(LocalBloqError, ValueError):
    """Options that cannot be used; every wrong one is named.

    :param problems: One sentence for each wrong option, beginning with its name.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class UnknownThing(LocalBloqError, LookupError):
    """There is no user, key, node, cluster or fault by that name here."""
