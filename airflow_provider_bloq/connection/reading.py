"""From the Airflow connection to settings, and client keys that the connection itself holds."""

from __future__ import annotations

import hashlib
from typing import Any

from airflow_provider_bloq.auth.credentials import ClientKeys, KeyReading
from airflow_provider_bloq.connection.settings import BloqSettings
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.flow import responses

__all__ = [
    "ConnectionKeySource",
    "aread_settings",
    "read_settings",
]


def read_settings(conn_id: str) -> BloqSettings:
    """Fetch a connection from Airflow and read it.

    :param conn_id: Its id.
    :raises AirflowNotFoundException: There is none of this id.
    :raises BloqConfigurationError: Something in it is wrong.
    """
    from airflow.providers.common.compat.sdk import BaseHook

    from airflow_provider_bloq.connection.masking import mask

    connection = BaseHook.get_connection(conn_id)
    _require_object(conn_id, connection.extra)
    settings = _parse(conn_id, connection, connection.extra_dejson)
    # Airflow itself masks the password, but of the extra only texts whose own name sounds secret.
    for key in settings.connect_api_keys.values():
        mask(key.reveal())
    return settings


async def aread_settings(conn_id: str) -> BloqSettings:
    """As :func:`read_settings`, for the event loop."""
    from airflow_provider_bloq.connection.masking import amask

    settings = _parse(conn_id, *await _fetched(conn_id))
    for key in settings.connect_api_keys.values():
        await amask(key.reveal())
    return settings


async def _fetched(conn_id: str) -> tuple[Any, dict[str, Any]]:
    """Fetch a connection and its extras without getting in the way of other calls on the event loop."""
    from airflow.providers.common.compat.sdk import BaseHook, Connection

    if hasattr(Connection, "aextra_dejson"):
        connection = await BaseHook.aget_connection(conn_id)
        _require_object(conn_id, connection.extra)
        return connection, await connection.aextra_dejson()

    # Before Airflow 3.3.2 the async way masks by blocking calls, which fail while another one is under way. Newer
    # versions of the common-compat provider have a way round that; those of the same age do not.
    from airflow_provider_bloq.flow.threads import in_thread

    def fetch() -> tuple[Any, dict[str, Any]]:
        connection = BaseHook.get_connection(conn_id)
        _require_object(conn_id, connection.extra)
        return connection, connection.extra_dejson

    return await in_thread(fetch)


def _require_object(conn_id: str, extra: str | None) -> None:
    """Refuse extras that cannot be read: Airflow takes them for none, and none mean production.

    :param extra: The text of the extras. It may hold secrets, so it is not quoted.
    :raises BloqConfigurationError: It is no JSON object.
    """
    try:
        is_object = isinstance(responses.parse_json(extra), dict) if extra else True
    except ValueError:
        is_object = False
    if not is_object:
        raise BloqConfigurationError.of(
            "extra",
            "it is no JSON object",
            'Write it like {"environment": "prod", "vault_conn_id": "vault_bloq"}: names and texts in double quotes, '
            "no comma after the last",
            f"connection {conn_id!r}",
        )


def _parse(conn_id: str, connection: Any, extra: dict[str, Any]) -> BloqSettings:
    return BloqSettings.parse(
        conn_id, connection.host, connection.port, connection.login, connection.password, extra
    )


class ConnectionKeySource:
    """Client keys in the login and password of the connection, which may itself come from Vault by way
    of Airflow's secrets backend: to read them anew is to fetch the connection anew.

    :param conn_id: Id of the connection.
    :param keys: The keys as they were when the connection was last read.
    """

    def __init__(self, conn_id: str, keys: ClientKeys) -> None:
        self._conn_id = conn_id
        self._just_read: ClientKeys | None = keys
        digest = hashlib.sha256(keys.client_secret.reveal().encode()).hexdigest()
        self._identity = ("connection", keys.client_id, digest)

    @property
    def description(self) -> str:
        """Name the place for a person."""
        return f"connection {self._conn_id!r}"

    @property
    def identity(self) -> tuple[str, ...]:
        """Client ID, and a digest of the secret."""
        return self._identity

    def forget(self) -> None:
        """Have the next reading fetch the connection."""
        self._just_read = None

    def load(self) -> KeyReading:
        """Give the keys that the connection was just read with; from the second time on, read it anew."""
        keys, self._just_read = self._just_read, None
        return KeyReading(keys) if keys else self._reading(read_settings(self._conn_id))

    async def aload(self) -> KeyReading:
        """As :meth:`load`, for the event loop."""
        keys, self._just_read = self._just_read, None
        return KeyReading(keys) if keys else self._reading(await aread_settings(self._conn_id))

    def _reading(self, settings: BloqSettings) -> KeyReading:
        if settings.client_keys is None:
            raise BloqConfigurationError.of(
                "login",
                "the connection held the client keys when the task began and does not any more",
                "Clear the task, so that it starts with the connection as it is now.",
                f"connection {self._conn_id!r}",
            )
        return KeyReading(settings.client_keys)
