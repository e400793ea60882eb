"""What happens to the access token and the client keys of one account."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from airflow_provider_bloq.auth.events import Event, told

__all__ = [
    "EarlyRenewalFailed",
    "KeysChanged",
    "KeysRead",
    "KeysRefused",
    "RefreshRefused",
    "TokenMinted",
    "TokenRefreshed",
    "TokenRefused",
    "TokenSurvived",
]


@dataclass(frozen=True, slots=True)
class TokenMinted(Event):
    """An access token was made from the client keys.

    :param lives: Seconds that it lives.
    :param key_version: KV version of the client keys; None without versions.
    """

    level: ClassVar[int] = logging.INFO

    lives: float
    key_version: int | None = None

    def __str__(self) -> str:
        version = f", keys version {self.key_version}" if self.key_version is not None else ""
        return f"Access token minted, lives {told(self.lives)}{version}"


@dataclass(frozen=True, slots=True)
class TokenRefreshed(Event):
    """An access token was made from the refresh token.

    :param lives: Seconds that it lives.
    """

    level: ClassVar[int] = logging.INFO

    lives: float

    def __str__(self) -> str:
        return f"Access token refreshed, lives {told(self.lives)}"


@dataclass(frozen=True, slots=True)
class TokenRefused(Event):
    """A service refused the access token; it is shown another one if there is one.

    :param method: HTTP method of the request.
    :param url: Its URL, without a query.
    :param status: The HTTP status.
    """

    level: ClassVar[int] = logging.INFO

    method: str
    url: str
    status: int

    def __str__(self) -> str:
        return f"{self.method} {self.url} refuses the access token ({self.status}); getting another one"


@dataclass(frozen=True, slots=True)
class TokenSurvived(Event):
    """A request that was refused went through with another access token.

    :param climbs: How many other tokens that took.
    """

    climbs: int

    def __str__(self) -> str:
        return f"The call was taken with access token number {self.climbs + 1}"


@dataclass(frozen=True, slots=True)
class RefreshRefused(Event):
    """Accounts gives no access token for the refresh token, which is not shown again.

    :param status: The HTTP status.
    """

    level: ClassVar[int] = logging.INFO

    status: int

    def __str__(self) -> str:
        return f"Accounts refuses the refresh token ({self.status}); minting with the client keys."


@dataclass(frozen=True, slots=True)
class KeysRead(Event):
    """The client keys were read from their source.

    :param source: Names the source.
    :param version: KV version of the client keys; None without versions.
    """

    source: str
    version: int | None = None

    def __str__(self) -> str:
        version = f", version {self.version}" if self.version is not None else ""
        return f"Client keys read from {self.source}{version}"


@dataclass(frozen=True, slots=True)
class KeysRefused(Event):
    """Accounts refuses the client keys, which are read again.

    :param status: The HTTP status.
    :param source: Names where they come from.
    """

    level: ClassVar[int] = logging.INFO

    status: int
    source: str

    def __str__(self) -> str:
        return f"Accounts refuses the client keys ({self.status}); reading {self.source} again."


@dataclass(frozen=True, slots=True)
class KeysChanged(Event):
    """The client keys, read again, are others than before.

    :param source: Names where they come from.
    :param before: KV version before; None without versions.
    :param after: KV version now.
    """

    level: ClassVar[int] = logging.INFO

    source: str
    before: int | None
    after: int | None

    def __str__(self) -> str:
        if self.before == self.after:
            return f"Client keys changed in {self.source}"
        return f"Client keys version {self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class EarlyRenewalFailed(Event):
    """A renewal ahead of time failed; the access token that is held still lives.

    :param problem: The error, in words.
    """

    level: ClassVar[int] = logging.WARNING

    problem: str

    def __str__(self) -> str:
        return f"An early renewal failed ({self.problem}); the access token still lives and is used on."
