"""Connect's path keys from the KV secret that holds the client keys."""

from __future__ import annotations

from functools import partial
from typing import Any

from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.clients.path_key import is_path_key
from airflow_provider_bloq.exceptions import BloqConfigurationError, FieldProblem
from airflow_provider_bloq.vault.access import VaultAccess
from airflow_provider_bloq.vault.diagnose import diagnose_read
from airflow_provider_bloq.vault.endpoint import VaultEndpoint
from airflow_provider_bloq.vault.fields import pick_text
from airflow_provider_bloq.vault.kv import read_kv
from airflow_provider_bloq.vault.location import VaultLocation

__all__ = ["VaultPathKeys"]


class VaultPathKeys:
    """Reads path keys: that of ``eth`` is the field ``connect_eth``.

    :param location: Where the client keys lie.
    :param access: The Vault connection in use.
    """

    def __init__(self, location: VaultLocation, access: VaultAccess) -> None:
        self._path = location.path.strip("/")
        self._access = access
        self._place = f"Vault path {location.path!r} (connection {location.vault_conn_id!r})"

    def load(self, chain: str) -> Secret:
        """Read the key of a chain.

        :raises BloqConfigurationError: There is none, or something else in its place; or Vault refuses.
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
        """
        return self._access.call(partial(self._read, chain), self._diagnose)

    def _read(self, chain: str, client: Any, endpoint: VaultEndpoint) -> Secret:
        data = read_kv(client, endpoint.kv_version, endpoint.mount, self._path).data
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

    def _diagnose(self, error: Exception, client: Any, endpoint: VaultEndpoint) -> Exception:
        return diagnose_read(error, client, endpoint, self._path, self._place)
