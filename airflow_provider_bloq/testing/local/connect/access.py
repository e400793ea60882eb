"""Who may use Connect, and which chain a request is for: tokens, path keys and the Host header."""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from airflow_provider_bloq.testing.local.authentication import ANY_ACCESS, require_grant
from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.connect.chain import ChainView, UtxoChain
from airflow_provider_bloq.testing.local.errors import LocalBloqNotFound
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.tokens import digest

__all__ = [
    "ChainAccess",
    "PathKeyStore",
    "named_chain",
]


#: Bloq's path keys are three words; here one of each line.
_COLUMNS = (
    "amber brisk coral dusty early fancy grand hasty ivory jolly keen lunar mellow noble olive proud",
    "acorn badge cedar delta ember field grove haven inlet jewel knoll lantern maple north orbit pine",
    "arrow beacon cliff dune engine forest garden harbor island junction kite ladder meadow nest oar pond",
)


class PathKeyStore:
    """All path keys by digest. Used on the event loop only."""

    def __init__(self) -> None:
        self._chains: dict[str, str] = {}

    def create(self, chain: str) -> str:
        """Create a path key for a chain and return it; it cannot be read again."""
        key = _three_words()
        while self.chain(key) is not None:
            key = _three_words()
        self._chains[digest(key)] = chain
        return key

    def delete(self, key: str) -> None:
        """Delete a key.

        :raises LocalBloqNotFound: There is no such key.
        """
        if self._chains.pop(digest(key), None) is None:
            raise LocalBloqNotFound("such path key")

    def chain(self, key: str) -> str | None:
        """Return the chain of a path key; None if there is no such key."""
        return self._chains.get(digest(key))


def _three_words() -> str:
    return "-".join(secrets.choice(column.split()) for column in _COLUMNS)


_DEFAULT_CHAIN = "btc"
_PORT = re.compile(r":\d*$")


def named_chain(host: str | None) -> str | None:
    """Return the chain that a Host header names in its first label, as in ``btc.connect.bloq.cloud``.

    None for the name or address of this machine, where all chains have one port.
    """
    name = _PORT.sub("", host or "").strip("[]").rstrip(".").lower()
    if name in ("", "localhost") or _is_loopback(name):
        return None
    return name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class ChainAccess:
    """Checks tokens and finds the chain of a request."""

    backend: Backend
    chains: Mapping[str, UtxoChain]

    def chain(self, request: web.Request) -> UtxoChain:
        """Return the chain that the Host header names; Bitcoin if it names none.

        :raises ApiProblem: REST API and stream do not have that chain (404).
        """
        name = named_chain(request.headers.get("Host")) or _DEFAULT_CHAIN
        chain = self.chains.get(name)
        if chain is None:
            known = " and ".join(self.chains)
            raise ApiProblem(404, "UnknownChain", f"Connect has {known} here, but not {name[:100]}")
        return chain

    async def authorize(self, request: web.Request) -> ChainView:
        """Check the token and return the current state of the chain.

        :raises ApiProblem: The token is not accepted (401, 403), or there is no chain (404, 502, 503).
        """
        require_grant(self.backend, request, ANY_ACCESS)
        return await self.chain(request).now()


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
