"""Client keys and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from airflow_provider_bloq.auth.secret import Secret

__all__ = ["ClientKeys", "KeyReading", "KeySource"]


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
