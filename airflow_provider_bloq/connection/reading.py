"""Read an Airflow connection, and mask its secrets in logs before anything else is done with them."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

from airflow_provider_bloq.auth.credentials import ClientKeys, KeyReading
from airflow_provider_bloq.connection.settings import BloqSettings
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.flow import service

__all__ = [
    "ConnectionKeySource",
    "amask",
    "aread_settings",
    "mask",
    "read_settings",
]


def mask(value: str) -> None:
    """Hide a secret in the logs of this process and of its supervisor."""
    from airflow.sdk.log import mask_secret

    mask_secret(value)


async def amask(value: str) -> None:
    """Like :func:`mask`, without blocking the event loop."""
    try:
        from airflow.sdk.log import amask_secret
    except ImportError:
        # Before Airflow 3.3 there is only the blocking function, which is safe in a thread.
        from airflow_provider_bloq.flow.threads import in_thread

        await in_thread(partial(mask, value))
    else:
        await amask_secret(value)


def read_settings(conn_id: str) -> BloqSettings:
    """Fetch a connection and read its settings.

    :param conn_id: Id of the connection.
    :raises AirflowNotFoundException: There is no such connection.
    :raises BloqConfigurationError: A field is wrong.
    """
    settings = _parse(conn_id, *_fetch(conn_id))
    # Airflow masks the password, but in the extra only texts whose own name sounds secret.
    for key in settings.connect_api_keys.values():
        mask(key.reveal())
    return settings


async def aread_settings(conn_id: str) -> BloqSettings:
    """Like :func:`read_settings`, for the event loop."""
    settings = _parse(conn_id, *await _afetch(conn_id))
    for key in settings.connect_api_keys.values():
        await amask(key.reveal())
    return settings


def _fetch(conn_id: str) -> tuple[Any, dict[str, Any]]:
    from airflow.providers.common.compat.sdk import BaseHook

    connection = BaseHook.get_connection(conn_id)
    _require_object(conn_id, connection.extra)
    return connection, connection.extra_dejson


async def _afetch(conn_id: str) -> tuple[Any, dict[str, Any]]:
    from airflow.providers.common.compat.sdk import BaseHook, Connection

    if hasattr(Connection, "aextra_dejson"):
        connection = await BaseHook.aget_connection(conn_id)
        _require_object(conn_id, connection.extra)
        return connection, await connection.aextra_dejson()

    # Before Airflow 3.3.2, aget_connection masks through blocking calls, which fail while another one is in
    # progress. Newer versions of the common-compat provider work around that; those of the same age do not.
    from airflow_provider_bloq.flow.threads import in_thread

    return await in_thread(lambda: _fetch(conn_id))


def _require_object(conn_id: str, extra: str | None) -> None:
    """Reject extras that cannot be parsed: Airflow reads them as empty, and empty extras mean production.

    :param extra: The text of the extras. It may contain secrets, so the error does not quote it.
    """
    try:
        is_object = isinstance(service.parse_json(extra), dict) if extra else True
    except ValueError:
        is_object = False
    if not is_object:
        raise BloqConfigurationError.of(
            "extra",
            "it is not a JSON object",
            'Write it like {"environment": "prod", "vault_conn_id": "vault_bloq"}: names and texts in double quotes, '
            "no comma after the last",
            f"connection {conn_id!r}",
        )


def _parse(conn_id: str, connection: Any, extra: dict[str, Any]) -> BloqSettings:
    return BloqSettings.parse(
        conn_id, connection.host, connection.port, connection.login, connection.password, extra
    )


class ConnectionKeySource:
    """Client keys in the login and password of the connection.

    Reading them again fetches the connection again, which may come from Airflow's Vault secrets backend.

    :param conn_id: Id of the connection.
    :param keys: The keys from the last reading of the connection.
    """

    def __init__(self, conn_id: str, keys: ClientKeys) -> None:
        self._conn_id = conn_id
        self._just_read: ClientKeys | None = keys
        digest = hashlib.sha256(keys.client_secret.reveal().encode()).hexdigest()
        self._identity = ("connection", keys.client_id, digest)

    @property
    def description(self) -> str:
        """The source's name in messages."""
        return f"connection {self._conn_id!r}"

    @property
    def identity(self) -> tuple[str, ...]:
        """Client ID and a digest of the client secret."""
        return self._identity

    def forget(self) -> None:
        """Make the next reading fetch the connection."""
        self._just_read = None

    def load(self) -> KeyReading:
        """Return the keys that were just read; from the second call on, fetch the connection again."""
        keys, self._just_read = self._just_read, None
        return KeyReading(keys) if keys else self._reading(read_settings(self._conn_id))

    async def aload(self) -> KeyReading:
        """Like :meth:`load`, for the event loop."""
        keys, self._just_read = self._just_read, None
        return KeyReading(keys) if keys else self._reading(await aread_settings(self._conn_id))

    def _reading(self, settings: BloqSettings) -> KeyReading:
        if settings.client_keys is None:
            raise BloqConfigurationError.of(
                "login",
                "the connection held the client keys when the task began, but no longer does",
                "Clear the task so that it starts with the current connection.",
                f"connection {self._conn_id!r}",
            )
        return KeyReading(settings.client_keys)
