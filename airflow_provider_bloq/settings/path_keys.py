"""Reads Connect's path keys out of the extra of a connection."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.clients.path_key import is_path_key
from airflow_provider_bloq.settings.problems import Problems

__all__ = ["PathKeys", "read_path_keys"]

_CHAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_REMEDY = 'Enter {"eth": "<path key>"}: the part behind /v1/ of the URL that Connect gave'


class PathKeys(Mapping[str, Secret]):
    """Path keys by chain; cannot be changed, and can be hashed. Shows none."""

    __slots__ = ("_by_chain",)

    def __init__(self, by_chain: Mapping[str, Secret]) -> None:
        self._by_chain = dict(by_chain)

    def __getitem__(self, chain: str) -> Secret:
        return self._by_chain[chain]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_chain)

    def __len__(self) -> int:
        return len(self._by_chain)

    def __hash__(self) -> int:
        return hash(frozenset(self._by_chain.items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({sorted(self._by_chain)})"


def read_path_keys(field: str, table: Mapping[str, Any], problems: Problems) -> PathKeys:
    """Read a table from chain to key.

    :param field: Name of the field, for the problem, which quotes no key.
    :param table: The table.
    :param problems: Where a problem is noted.
    """
    keys: dict[str, Secret] = {}
    for name, value in table.items():
        chain = str(name).strip().lower()
        key = value.strip() if isinstance(value, str) else ""
        if not _CHAIN.fullmatch(chain):
            problems.add(field, "it has an entry that names no chain", _REMEDY)
        elif not is_path_key(key):
            problems.add(field, f"what stands for {chain} is no path key", _REMEDY)
        else:
            keys[chain] = Secret(key)
    return PathKeys(keys)
