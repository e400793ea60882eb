"""The roles and paths of a fleet in a real Vault, with the account of a local Bloq service."""

from __future__ import annotations

import secrets
from typing import Any

from airflow_provider_bloq.auth.shared_token_store import Record, SharedToken
from airflow_provider_bloq.testing.local import IssuedKeys, LocalBloq
from airflow_provider_bloq.testing.openbao import LocalVault
from airflow_provider_bloq.testing.stack import member_policy, reader_policy

__all__ = ["RealFleet"]


class RealFleet:
    """Sets up one fleet: client keys, shared path, and a Vault role each for members and readers.

    :param bloq: The service.
    :param vault: The Vault.
    :param name: Names its paths and roles.
    """

    def __init__(self, bloq: LocalBloq, vault: LocalVault, name: str) -> None:
        self.bloq = bloq
        self.vault = vault
        self.path, self.keys_path = f"{name}/shared", f"{name}/keys"
        account = bloq.create_account(f"{name}@example.com", secrets.token_urlsafe(16))
        self._account_id = account.id
        self.keys = self.renew_keys()
        vault.write_policy(f"{name}-member", member_policy(self.path, self.keys_path))
        vault.write_policy(f"{name}-reader", reader_policy(self.path))
        self._roles = {
            role: vault.approle(f"{name}-{role}", [f"{name}-{role}"]) for role in ("member", "reader")
        }

    def renew_keys(self) -> IssuedKeys:
        """Make a new pair of client keys and store it in Vault."""
        self.keys = self.bloq.create_client_keys(self._account_id)
        self.vault.put(
            self.keys_path, {"clientId": self.keys.client_id, "clientSecret": self.keys.client_secret}
        )
        return self.keys

    def connections(self) -> dict[str, dict[str, Any]]:
        """Give the Airflow connections: ``bloq_member`` and ``bloq_reader``, each with its Vault role."""
        common = {
            "environment": "local",
            "nodes_url": self.bloq.nodes_url,
            "sharing": "vault",
            "shared_vault_path": self.path,
            # So long may the lease last, too: on a busy machine nobody is superseded for being slow.
            "timeout": 300,
        }
        bloq = {"conn_type": "bloq", "host": self.bloq.accounts_url}
        return {
            "bloq_member": {
                **bloq,
                "extra": {**common, "vault_conn_id": "vault_member", "vault_path": self.keys_path},
            },
            "bloq_reader": {**bloq, "extra": {**common, "shared_vault_conn_id": "vault_reader"}},
            "vault_member": self._vault_connection("member"),
            "vault_reader": self._vault_connection("reader"),
        }

    def stored(self) -> SharedToken | None:
        """Read the shared token as root does."""
        from hvac.exceptions import InvalidPath

        try:
            answer = self.vault.client.secrets.kv.v2.read_secret_version(
                self.path, raise_on_deleted_version=True
            )
        except InvalidPath:
            return None
        return SharedToken.of(Record(1, answer["data"]["data"]), self.path)

    def rewrite(self, **fields: Any) -> SharedToken:
        """Change fields of the shared token; returns it as it was."""
        kv = self.vault.client.secrets.kv.v2
        version = kv.read_secret_metadata(self.path)["data"]["current_version"]
        stored = self.stored()
        assert stored is not None
        kv.create_or_update_secret(self.path, {**stored.fields(), **fields}, cas=version)
        return stored

    def expire(self) -> None:
        """Leave a dead token at the shared path, as one looks that nobody has renewed."""
        self.bloq.revoke_access_tokens(self.rewrite(lifetime=0.0).client_id)

    def _vault_connection(self, role: str) -> dict[str, Any]:
        return {
            "conn_type": "vault",
            "host": "127.0.0.1",
            "port": self.vault.port,
            "schema": "secret",
            "login": self._roles[role].role_id,
            "password": self._roles[role].secret_id,
            "extra": {"auth_type": "approle", "kv_engine_version": 2, "use_tls": False},
        }
