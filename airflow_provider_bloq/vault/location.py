"""Where client keys, and tokens that a fleet shares, lie in Vault."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_ID_FIELDS", "DEFAULT_KEY_FIELDS", "SharedLocation", "VaultLocation"]

#: Names that the client ID is looked for under, in this order, where the location names none.
DEFAULT_ID_FIELDS = ("clientId", "client_id")

#: Names that the client secret is looked for under, in this order, where the location names none.
DEFAULT_KEY_FIELDS = ("clientSecret", "client_secret")


@dataclass(frozen=True, slots=True)
class VaultLocation:
    """A KV secret that holds client keys, and the names of its two fields.

    :param vault_conn_id: Id of the Airflow connection (type ``vault``) through which it is read.
    :param path: Path of the secret below its mount, without ``data/``; the mount is the ``schema`` of
        the Vault connection.
    :param id_field: Field that holds the client ID; None for ``clientId`` or ``client_id``.
    :param key_field: Field that holds the client secret; None for ``clientSecret`` or ``client_secret``.
    """

    vault_conn_id: str
    path: str
    id_field: str | None = None
    key_field: str | None = None

    @property
    def id_fields(self) -> tuple[str, ...]:
        """The names that the client ID may stand under, the preferred one first."""
        return (self.id_field,) if self.id_field else DEFAULT_ID_FIELDS

    @property
    def key_fields(self) -> tuple[str, ...]:
        """The names that the client secret may stand under, the preferred one first."""
        return (self.key_field,) if self.key_field else DEFAULT_KEY_FIELDS


@dataclass(frozen=True, slots=True)
class SharedLocation:
    """A KV v2 secret through which a fleet shares its access token; its lease lies below it.

    :param vault_conn_id: Id of the Airflow connection (type ``vault``) through which it is reached.
    :param path: Path of the secret below the mount, without ``data/``.
    """

    vault_conn_id: str
    path: str

    @property
    def lease_path(self) -> str:
        """Path of the secret that is the right to renew the token."""
        return f"{self.path}/lease"
