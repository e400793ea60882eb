"""Client keys from a KV secret in Vault."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from airflow_provider_bloq.auth.credentials import KeyReading, Secret, is_path_key
from airflow_provider_bloq.connection.settings import VaultLocation
from airflow_provider_bloq.exceptions import BloqConfigurationError, FieldProblem
from airflow_provider_bloq.flow.threads import in_thread
from airflow_provider_bloq.vault.client import VaultClient
from airflow_provider_bloq.vault.diagnosis import diagnose_read
from airflow_provider_bloq.vault.kv import KvSecret, pick_client_keys, pick_text, read_kv
from airflow_provider_bloq.vault.vault_settings import VaultSettings

__all__ = [
    "VaultKeySource",
    "VaultPathKeys",
]


class VaultKeySource:
    """Reads client keys through an Airflow Vault connection: a :class:`~..auth.keys.KeySource`.

    The first load logs in and reads. The Vault token is kept, so that further loads only read; when Vault
    no longer accepts it, one of them logs in once more. A load that fails keeps nothing, so the next one
    begins with the connection as it then stands. Thread safe. Makes no request and reads no connection
    until it is asked for something.

    :param location: Where the keys lie.
    :param timeout: Seconds that each request to Vault may take to connect, and again to answer.
    :param mask: Called with each Vault token, so that logs do not show it. The keys are the caller's to
        mask.
    :param access: The Vault connection in use, where others share its login; else one of its own is made.
    """

    def __init__(
        self,
        location: VaultLocation,
        *,
        timeout: float = 30.0,
        mask: Callable[[str], None] | None = None,
        access: VaultClient | None = None,
    ) -> None:
        self._location = location
        self._access = access or VaultClient(location.vault_conn_id, timeout=timeout, mask=mask)

    @property
    def description(self) -> str:
        """Name the place for a person; no secret in it."""
        return f"Vault path {self._location.path!r} (connection {self._location.vault_conn_id!r})"

    @property
    def identity(self) -> tuple[str, ...]:
        """URL, namespace, digest of the login, mount, path and field names.

        Taken from the Airflow connection at the first call, without a request to Vault, and fixed from
        then on. Reads the connection synchronously: on an event loop, ask for it in a thread.

        :raises BloqConfigurationError: The Vault connection is missing or wrong.
        """
        settings = self._access.settings
        return (
            "vault",
            settings.url,
            settings.namespace,
            settings.login_digest,
            settings.mount,
            self._path,
            self._location.id_field or "",
            self._location.key_field or "",
        )

    def load(self) -> KeyReading:
        """Read the keys now: one login where there is none that holds, and one read.

        :raises BloqConfigurationError: Connection, path, policy or secret is wrong (names the field).
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
        """
        return self._access.call(self._read, self._diagnose)

    async def aload(self) -> KeyReading:
        """Read the keys now in a thread, since hvac blocks; raises what :meth:`load` raises."""
        return await in_thread(self.load)

    def forget(self) -> None:
        """Drop the Vault token and the connection that are kept: for a forked child."""
        self._access.forget()

    @property
    def _path(self) -> str:
        return self._location.path.strip("/")

    def _read(self, client: Any, settings: VaultSettings) -> KeyReading:
        secret: KvSecret = read_kv(client, settings.kv_version, settings.mount, self._path)
        keys = pick_client_keys(secret.data, self._location, self.description)
        return KeyReading(keys, secret.version)

    def _diagnose(self, error: Exception, client: Any, settings: VaultSettings) -> Exception:
        return diagnose_read(error, client, settings, self._path, self.description)


class VaultPathKeys:
    """Reads path keys: that of ``eth`` is the field ``connect_eth``.

    :param location: Where the client keys lie.
    :param access: The Vault connection in use.
    """

    def __init__(self, location: VaultLocation, access: VaultClient) -> None:
        self._path = location.path.strip("/")
        self._access = access
        self._place = f"Vault path {location.path!r} (connection {location.vault_conn_id!r})"

    def load(self, chain: str) -> Secret:
        """Read the key of a chain.

        :raises BloqConfigurationError: There is none, or something else in its place; or Vault refuses.
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
        """
        return self._access.call(partial(self._read, chain), self._diagnose)

    def _read(self, chain: str, client: Any, settings: VaultSettings) -> Secret:
        data = read_kv(client, settings.kv_version, settings.mount, self._path).data
        key = pick_text(data, (f"connect_{chain}",), "vault_path")
        if isinstance(key, FieldProblem):
            remedy = f"Add the field connect_{chain} with Connect's path key to the secret"
            raise BloqConfigurationError([FieldProblem("vault_path", key.problem, remedy)], self._place)
        if not is_path_key(key):
            raise BloqConfigurationError.of(
                "vault_path",
                f"what stands in the field connect_{chain} is no path key",
                "Write into it the part behind /v1/ of the URL that Connect gave, and nothing else",
                self._place,
            )
        return Secret(key)

    def _diagnose(self, error: Exception, client: Any, settings: VaultSettings) -> Exception:
        return diagnose_read(error, client, settings, self._path, self._place)
