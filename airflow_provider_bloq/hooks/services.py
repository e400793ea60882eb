"""Which of Bloq's services a URL leads to: a handful of names, fit for metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from airflow_provider_bloq.settings.connection import BloqSettings

__all__ = ["ServiceNames"]

_CHAIN_IN_URL = "{chain}"
_ORIGIN = re.compile(r"[^:/]+://[^/]*")


@dataclass(frozen=True, slots=True)
class ServiceNames:
    """Names services: ``accounts``, ``nodes``, ``connect``, and ``rpc`` for all else, which are nodes,
    clusters and raw URLs.

    :param bases: Base URL by name; may hold ``{chain}``.
    """

    bases: Mapping[str, str]

    @classmethod
    def of(cls, settings: BloqSettings) -> Self:
        """Take the base URLs of a connection."""
        return cls(
            {
                "nodes": settings.nodes_url,
                "connect": settings.connect_url,
                "accounts": settings.accounts_url,
            }
        )

    def name(self, url: str) -> str:
        """Name the service of a URL, or of a mere origin.

        :param url: The URL. Where services share their origin, the longest base URL that it begins with is
            right; of an origin alone, the first.
        """
        begun = [name for name, base in self.bases.items() if _begins_with(base, url)]
        if begun:
            return max(begun, key=lambda name: len(self.bases[name]))
        origins = {name: _ORIGIN.match(base) for name, base in self.bases.items()}
        return next(
            (name for name, origin in origins.items() if origin and _begins_with(origin[0], url)), "rpc"
        )


def _begins_with(base: str, url: str) -> bool:
    pattern = "[^./:]+".join(map(re.escape, base.split(_CHAIN_IN_URL)))
    return re.match(rf"{pattern}(?=[/?]|$)", url) is not None
