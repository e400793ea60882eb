"""Errors of the local service in the process that runs it."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "LocalBloqConfigurationError",
    "LocalBloqError",
    "LocalBloqNotFound",
]


class LocalBloqError(Exception):
    """Base of the errors of the local service."""


class LocalBloqConfigurationError(LocalBloqError, ValueError):
    """Options or arguments are invalid; the message names each.

    :param problems: One sentence for each, beginning with its name.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class LocalBloqNotFound(LocalBloqError, LookupError):
    """There is no such user, key, node, cluster or fault."""
