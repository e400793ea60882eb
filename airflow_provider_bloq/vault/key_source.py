"""Client keys and Connect's path keys from a KV secret in Vault."""

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
from airflow_provider_bloq.vault.kv import pick_client_keys, pick_text, read_kv
from airflow_provider_bloq.vault.vault_settings import VaultSettings

__all__ = [
    "VaultKeySource",
    "VaultPathKeys",
]


class _SecretInVault:
    """One KV secret that is read through a Vault connection."""

    def __init__(self, location: VaultLocation, vault: VaultClient) -> None:
        self._location = location
        self._path = location.path.strip("/")
        self._vault = vault

    @property
    def description(self) -> str:
        """The secret, for error messages."""
        return f"Vault path {self._location.path!r} (connection {self._location.vault_conn_id!r})"

    def _diagnose(self, error: Exception, client: Any, settings: VaultSettings) -> Exception:
        return diagnose_read(error, client, settings, self._path, self.description)


class VaultKeySource(_SecretInVault):
    """Reads client keys: a :class:`~airflow_provider_bloq.auth.credentials.KeySource`. Thread safe.

    The first load logs in; see :class:`~airflow_provider_bloq.vault.client.VaultClient` for what is kept.

    :param location: The secret and its fields.
    :param timeout: Seconds that each request to Vault may take to connect, and again to answer.
    :param mask: Called with each Vault token, to keep it out of logs. The caller masks the keys.
    :param vault: The Vault connection to use instead of a new one.
    """

    def __init__(
        self,
        location: VaultLocation,
        *,
        timeout: float = 30.0,
        mask: Callable[[str], None] | None = None,
        vault: VaultClient | None = None,
    ) -> None:
        super().__init__(location, vault or VaultClient(location.vault_conn_id, timeout=timeout, mask=mask))

    @property
    def identity(self) -> tuple[str, ...]:
        """URL, namespace, digest of the login, mount, path and field names.

        Taken from the Airflow connection at the first call, without a request to Vault, and fixed from then on.
        The connection is read synchronously: on an event loop, call this in a thread.

        :raises BloqConfigurationError: The Vault connection is missing or wrong.
        """
        settings = self._vault.settings
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
        """Read the keys now, after a login if none is kept.

        :raises BloqConfigurationError: Connection, path, policy or secret is wrong; names the field.
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
        """
        return self._vault.call(self._read, self._diagnose)

    async def aload(self) -> KeyReading:
        """Call :meth:`load` in a thread, since hvac blocks."""
        return await in_thread(self.load)

    def forget(self) -> None:
        """Drop the Vault token and the connection: for a forked child."""
        self._vault.forget()

    def _read(self, client: Any, settings: VaultSettings) -> KeyReading:
        secret = read_kv(client, settings.kv_version, settings.mount, self._path)
        return KeyReading(pick_client_keys(secret.data, self._location, self.description), secret.version)


class VaultPathKeys(_SecretInVault):
    """Reads Connect's path keys beside the client keys: the field ``connect_eth`` for ``eth``.

    :param location: The secret.
    :param vault: The Vault connection.
    """

    def load(self, chain: str) -> Secret:
        """Read the path key of a chain.

        :raises BloqConfigurationError: The path key is missing or malformed, or Vault refuses the read.
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
        """
        return self._vault.call(partial(self._read, chain), self._diagnose)

    def _read(self, chain: str, client: Any, settings: VaultSettings) -> Secret:
        data = read_kv(client, settings.kv_version, settings.mount, self._path).data
        key = pick_text(data, (f"connect_{chain}",), "vault_path")
        if isinstance(key, FieldProblem):
            remedy = f"Add the field connect_{chain} with Connect's path key to the secret"
            raise BloqConfigurationError([FieldProblem("vault_path", key.problem, remedy)], self.description)
        if not is_path_key(key):
            raise BloqConfigurationError.of(
                "vault_path",
                f"the field connect_{chain} does not hold a path key",
                "Write only the part after /v1/ of the URL from Connect to the field",
                self.description,
            )
        return Secret(key)
