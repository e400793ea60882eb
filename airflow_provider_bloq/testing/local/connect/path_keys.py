"""The keys that open Connect's JSON-RPC: a part of the path, and the whole credential."""

from __future__ import annotations

import secrets

from airflow_provider_bloq.testing.local.errors import UnknownThing
from airflow_provider_bloq.testing.local.tokens import digest

__all__ = ["PathKeys"]

#: Bloq's keys are three words; these stand in three columns, so that few are enough.
_COLUMNS = (
    "amber brisk coral dusty early fancy grand hasty ivory jolly keen lunar mellow noble olive proud",
    "acorn badge cedar delta ember field grove haven inlet jewel knoll lantern maple north orbit pine",
    "arrow beacon cliff dune engine forest garden harbor island junction kite ladder meadow nest oar pond",
)


class PathKeys:
    """All keys, by their digests. Touched on the event loop only."""

    def __init__(self) -> None:
        self._chains: dict[str, str] = {}

    def create(self, chain: str) -> str:
        """Make a key for a chain and return it; it cannot be read again."""
        key = _three_words()
        while self.chain(key) is not None:
            key = _three_words()
        self._chains[digest(key)] = chain
        return key

    def delete(self, key: str) -> None:
        """Delete a key.

        :raises UnknownThing: There is no such key.
        """
        if self._chains.pop(digest(key), None) is None:
            raise UnknownThing("such path key")

    def chain(self, key: str) -> str | None:
        """Return the chain that a key opens; None if there is no such key."""
        return self._chains.get(digest(key))


def _three_words() -> str:
    return "-".join(secrets.choice(column.split()) for column in _COLUMNS)
