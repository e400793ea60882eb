"""A string that does not show itself."""

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
    """Holds a secret and looks like ``***`` to everything but :meth:`reveal`.

    To ``str``, ``repr``, ``format``, ``json``, ``pickle``, ``copy`` and ``dataclasses.asdict`` the
    text is ``***``: it is a ``str`` only so that an encoder that meets one by mistake writes three
    stars instead of failing or asking for the object's fields.
    """

    __slots__ = ("_hidden",)
    _hidden: str

    def __new__(cls, value: str) -> Secret:
        """Hide a value; hiding a Secret again changes nothing."""
        secret = super().__new__(cls, REDACTED)
        secret._hidden = value.reveal() if isinstance(value, Secret) else value
        return secret

    def reveal(self) -> str:
        """Return the secret itself. Call it only where it is written onto the wire."""
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
        # Not left to Python: str has one of its own, to which all secrets are equal.
        return not self == other

    def __hash__(self) -> int:
        return hash(self._hidden)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # A pickle is read by others; what comes out of it is a plain, useless "***".
        return str, (REDACTED,)


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """The pair that access tokens are minted from.

    :param client_id: 40 hexadecimal characters; not a secret.
    :param client_secret: 80 hexadecimal characters, shown once by Bloq when the pair is made.
    """

    client_id: str
    client_secret: Secret


@dataclass(frozen=True, slots=True)
class KeyReading:
    """Client keys as they stood when their source was read.

    :param keys: The pair.
    :param version: Version of the KV v2 secret that held them; None where the source has none.
    """

    keys: ClientKeys
    version: int | None = None


class KeySource(Protocol):
    """A place that client keys are read from, each time anew: no reading is kept here."""

    @property
    def description(self) -> str:
        """Name the place for a person, such as ``Vault path 'bloq/client'``; no secret in it."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Tell this source from any other; secrets take part only as digests."""

    def load(self) -> KeyReading:
        """Read the keys now.

        :raises BloqConfigurationError: A setting of the source is wrong (names the field).
        :raises BloqVaultUnavailable: The source cannot be reached at present.
        """

    def forget(self) -> None:
        """Drop whatever makes the next reading cheaper. For a forked child."""

    async def aload(self) -> KeyReading:
        """Read the keys now without blocking the event loop; raises what :meth:`load` raises."""


#: Below these, each chain has a host of Connect.
CONNECT_DOMAINS = ("connect.bloq.cloud", "connect.bloqclouddev.com")


# What stands in a URL as it is: a key that had to be quoted there would be logged in a form that nobody masks.
_KEY = re.compile(r"[A-Za-z0-9._~-]{1,200}", re.ASCII)


def is_path_key(text: str) -> bool:
    """Tell whether a text can be a path key.

    :param text: The text, without white space around it.
    """
    return _KEY.fullmatch(text) is not None and text not in (".", "..") and REDACTED not in text


def shows_path_key(url: str) -> bool:
    """Tell whether a URL is one of Bloq's Connect with a path key in it.

    Scheme and port do not matter: by a wrong one, a key is shown as well.

    :param url: An absolute URL; ``{chain}`` may stand in its host.
    """
    try:
        origin = Origin.of(url.replace("{chain}", "any-chain"))
    except ValueError:
        return False
    if not any(f".{origin.host}".endswith(f".{domain}") for domain in CONNECT_DOMAINS):
        return False
    segments = unquote(urlsplit(url).path).lower().split("/")
    # By "v1" alone others go as well; what comes after it is the key.
    return "v1" in segments and any(segments[segments.index("v1") + 1 :])
