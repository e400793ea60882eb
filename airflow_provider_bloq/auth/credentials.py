"""Credentials: strings that hide themselves, client keys and their sources, path keys of Connect."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from airflow_provider_bloq.auth.origin import Origin

__all__ = [
    "CONNECT_DOMAINS",
    "REDACTED",
    "ClientKeys",
    "KeyReading",
    "KeySource",
    "Secret",
    "is_path_key",
    "shows_path_key",
]


REDACTED = "***"


class Secret(str):
    """A secret that shows as ``***`` everywhere except in :meth:`reveal`.

    To ``str``, ``repr``, ``format``, ``json``, ``pickle``, ``copy`` and ``dataclasses.asdict`` the
    text is ``***``. It is a ``str`` so that an encoder that meets one by mistake writes ``***``
    instead of failing or reading the object's fields.
    """

    __slots__ = ("_hidden",)
    _hidden: str

    def __new__(cls, value: str) -> Secret:
        """Hide a value. A Secret of a Secret is the same."""
        secret = super().__new__(cls, REDACTED)
        secret._hidden = value.reveal() if isinstance(value, Secret) else value
        return secret

    def reveal(self) -> str:
        """Return the secret itself. Call it only to send it."""
        return self._hidden

    def __repr__(self) -> str:
        return f"Secret('{REDACTED}')"

    def __bool__(self) -> bool:
        return bool(self._hidden)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return False
        return hmac.compare_digest(self._hidden.encode(), other._hidden.encode())

    def __ne__(self, other: object) -> bool:
        # str defines it as well, and would find all secrets equal.
        return not self == other

    def __hash__(self) -> int:
        return hash(self._hidden)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # Others may read a pickle: it contains only "***".
        return str, (REDACTED,)


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """A pair of client keys, with which access tokens are minted.

    :param client_id: 40 hexadecimal characters; not a secret.
    :param client_secret: 80 hexadecimal characters, which Bloq shows only once.
    """

    client_id: str
    client_secret: Secret


@dataclass(frozen=True, slots=True)
class KeyReading:
    """Client keys as read from their source.

    :param keys: The pair.
    :param version: Version of the KV v2 secret that holds them; None if the source has no versions.
    """

    keys: ClientKeys
    version: int | None = None


class KeySource(Protocol):
    """Where client keys are read from. Keeps no copy of them."""

    @property
    def description(self) -> str:
        """Name of the source for people, such as ``Vault path 'bloq/client'``; contains no secret."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Identifies this source; secrets are included only as digests."""

    def load(self) -> KeyReading:
        """Read the keys.

        :raises BloqConfigurationError: A setting of the source is wrong (names the field).
        :raises BloqVaultUnavailable: The source cannot be reached at present.
        """

    def forget(self) -> None:
        """Drop whatever is kept to make reading cheaper. For a forked child."""

    async def aload(self) -> KeyReading:
        """Like :meth:`load`, without blocking the event loop."""


#: Domains of Connect; each chain has a host below them.
CONNECT_DOMAINS = ("connect.bloq.cloud", "connect.bloqclouddev.com")


# Unreserved characters of URLs: a key that had to be quoted would be logged in a form that is not masked.
_KEY = re.compile(r"[A-Za-z0-9._~-]{1,200}", re.ASCII)


def is_path_key(text: str) -> bool:
    """Return whether a text can be a path key."""
    return _KEY.fullmatch(text) is not None and text not in (".", "..") and REDACTED not in text


def shows_path_key(url: str) -> bool:
    """Return whether a URL is one of Bloq's Connect with a path key in it, by whatever scheme and port.

    :param url: An absolute URL; ``{chain}`` may stand in its host.
    """
    try:
        origin = Origin.of(url.replace("{chain}", "any-chain"))
    except ValueError:
        return False
    if not any(f".{origin.host}".endswith(f".{domain}") for domain in CONNECT_DOMAINS):
        return False
    segments = unquote(urlsplit(url).path).lower().split("/")
    # The key comes after "v1".
    return "v1" in segments and any(segments[segments.index("v1") + 1 :])
