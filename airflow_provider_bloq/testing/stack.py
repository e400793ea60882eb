"""A local Bloq service and a local Vault that holds its client keys, as a team would set them up."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from typing import Any, Self

from airflow_provider_bloq.testing.local import IssuedKeys, LocalBloq, LocalBloqOptions
from airflow_provider_bloq.testing.openbao import LocalVault

__all__ = ["LocalStack"]

#: Where the client keys lie, below the mount ``secret``.
KEYS_PATH = "bloq/client-keys"
#: What the role of the workers may do: read this one secret.
POLICY = f'path "secret/data/{KEYS_PATH}" {{ capabilities = ["read"] }}'
ROLE = "airflow"


class LocalStack:
    """Runs both and keeps the keys in Vault right; a context manager.

    :param options: Switches of the Bloq service.
    """

    def __init__(self, options: LocalBloqOptions | None = None) -> None:
        self.bloq = LocalBloq(options)
        self.vault = LocalVault()
        self._opened = ExitStack()
        self._keys: IssuedKeys | None = None
        self._account_id = ""
        self._role: Any = None

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.enter_context(self.vault)
            opened.enter_context(self.bloq)
            account = self.bloq.create_account("team@example.com", secrets.token_urlsafe(16), manager=True)
            self._account_id = account.id
            self._store(self.bloq.create_client_keys(account.id))
            self.vault.write_policy(ROLE, POLICY)
            self._role = self.vault.approle(ROLE, [ROLE], token_type="batch", ttl="20m")
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._opened.close()

    @property
    def keys(self) -> IssuedKeys:
        """The client keys that Vault holds."""
        if self._keys is None:
            raise RuntimeError("the stack was not started yet")
        return self._keys

    def rotate_keys(self) -> None:
        """Make a new pair of client keys, store it in Vault, and delete the old one with all its tokens."""
        old = self.keys
        self.renew_keys()
        self.bloq.delete_client_keys(old.client_id)
        self.bloq.revoke_access_tokens(old.client_id)

    def renew_keys(self) -> None:
        """Make a new pair of client keys and store it in Vault; the old one is left as it is."""
        self._store(self.bloq.create_client_keys(self._account_id))

    def revoke_tokens(self) -> None:
        """End every token that was made from the client keys in Vault; the keys themselves stay good."""
        self.bloq.revoke_refresh_tokens(self.keys.client_id)
        self.bloq.revoke_access_tokens(self.keys.client_id)

    def key_reads(self) -> int:
        """Count how often the client keys were read from Vault."""
        return sum(
            seen.operation == "read" and seen.path == f"secret/data/{KEYS_PATH}"
            for seen in self.vault.requests_seen()
        )

    def connections(self) -> dict[str, dict[str, Any]]:
        """Give the Airflow connections for the two, by their ids: ``bloq_default`` and ``vault_bloq``."""
        return {
            "bloq_default": {
                "conn_type": "bloq",
                "host": self.bloq.accounts_url,
                "extra": {
                    "environment": "local",
                    "nodes_url": self.bloq.nodes_url,
                    "connect_url": self.bloq.connect_url,
                    "vault_conn_id": "vault_bloq",
                    "vault_path": KEYS_PATH,
                    "ca_bundle": str(self.bloq.ca_bundle),
                },
            },
            "vault_bloq": {
                "conn_type": "vault",
                "host": "127.0.0.1",
                "port": self.vault.port,
                "schema": "secret",
                "login": self._role.role_id,
                "password": self._role.secret_id,
                "extra": {"auth_type": "approle", "kv_engine_version": 2, "use_tls": False},
            },
        }

    def _store(self, keys: IssuedKeys) -> None:
        self.vault.put(KEYS_PATH, {"clientId": keys.client_id, "clientSecret": keys.client_secret})
        self._keys = keys
