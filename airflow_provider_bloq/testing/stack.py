"""A local Bloq service and a local Vault with the client keys of an account, and Vault policies for a fleet.

The policies are those of the documentation. Their paths are those of a KV engine of version 2: the data of
``bloq/shared`` in the engine ``secret`` are at ``secret/data/bloq/shared``, its settings at ``secret/metadata/…``.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from typing import Any, Self

from airflow_provider_bloq.testing.local import IssuedKeys, LocalBloq, LocalBloqOptions
from airflow_provider_bloq.testing.openbao import AppRole, LocalVault

__all__ = [
    "KEYS_PATH",
    "POLICY",
    "ROLE",
    "LocalStack",
    "LocalTeam",
    "member_policy",
    "reader_policy",
    "worker_policy",
]


def worker_policy(keys_path: str, *, mount: str = "secret") -> str:
    """Return the policy for tasks with a token each (``sharing: task``): read the client keys.

    :param keys_path: Path of the client keys below the mount.
    """
    return _rule(f"{mount}/data/{keys_path}", "read")


def reader_policy(shared_path: str, *, mount: str = "secret") -> str:
    """Return the policy for tasks that only read the shared token.

    :param shared_path: Path of the shared token below the mount.
    """
    return _rule(f"{mount}/data/{shared_path}", "read")


def member_policy(shared_path: str, keys_path: str | None = None, *, mount: str = "secret") -> str:
    """Return the policy for a member, such as a broker: read the client keys, read and write the shared token.

    The last two rules allow it to limit the versions that Vault keeps; it works without them.

    :param shared_path: Path of the shared token below the mount.
    :param keys_path: Path of the client keys; None if they are in the connection.
    """
    rules = [worker_policy(keys_path, mount=mount)] if keys_path is not None else []
    paths = (shared_path, f"{shared_path}/lease")
    rules += [_rule(f"{mount}/data/{path}", "create", "read", "update") for path in paths]
    rules += [_rule(f"{mount}/metadata/{path}", "create", "update") for path in paths]
    return "\n".join(rules)


def _rule(path: str, *capabilities: str) -> str:
    listed = ", ".join(f'"{capability}"' for capability in capabilities)
    return f'path "{path}" {{ capabilities = [{listed}] }}'


#: Path of the client keys below the mount ``secret``.
KEYS_PATH = "bloq/client-keys"
#: Policy of the workers: read this one secret.
POLICY = worker_policy(KEYS_PATH)
ROLE = "airflow"


class LocalTeam:
    """An account of a running Bloq service whose client keys are in a running Vault.

    :param bloq: The Bloq service.
    :param vault: The Vault.
    """

    def __init__(self, bloq: LocalBloq, vault: LocalVault) -> None:
        self.bloq = bloq
        self.vault = vault
        self._keys: IssuedKeys | None = None
        self._account_id = ""
        self._role: AppRole | None = None
        self._earlier_reads = 0

    def set_up(self) -> Self:
        """Create the account, store its client keys in Vault, and create the role that reads them."""
        email = f"team-{secrets.token_hex(6)}@example.com"
        self._account_id = self.bloq.create_account(email, secrets.token_urlsafe(16), manager=True).id
        self.renew_keys()
        self.vault.write_policy(ROLE, POLICY)
        self._role = self.vault.approle(ROLE, [ROLE], token_type="batch", ttl="20m")
        self._earlier_reads = self._all_key_reads()
        return self

    @property
    def keys(self) -> IssuedKeys:
        """The client keys in Vault."""
        if self._keys is None:
            raise RuntimeError("the team has no account yet")
        return self._keys

    def rotate_keys(self) -> None:
        """Store new client keys in Vault, and delete the old ones with all their tokens."""
        old = self.keys
        self.renew_keys()
        self.bloq.delete_client_keys(old.client_id)
        self.bloq.revoke_access_tokens(old.client_id)

    def renew_keys(self) -> None:
        """Store new client keys in Vault; the old ones stay valid."""
        keys = self.bloq.create_client_keys(self._account_id)
        self.vault.put(KEYS_PATH, {"clientId": keys.client_id, "clientSecret": keys.client_secret})
        self._keys = keys

    def revoke_keys(self) -> None:
        """Delete the client keys with all their tokens at Bloq, but not in Vault."""
        self.bloq.delete_client_keys(self.keys.client_id)
        self.bloq.revoke_access_tokens(self.keys.client_id)

    def revoke_tokens(self) -> None:
        """Revoke all tokens that were issued for the client keys in Vault; the keys stay valid."""
        self.bloq.revoke_refresh_tokens(self.keys.client_id)
        self.bloq.revoke_access_tokens(self.keys.client_id)

    def key_reads(self) -> int:
        """Return how often the client keys were read from Vault since :meth:`set_up`."""
        return self._all_key_reads() - self._earlier_reads

    def connections(self) -> dict[str, dict[str, Any]]:
        """Return the Airflow connections to both by id: ``bloq_default`` and ``vault_bloq``."""
        if self._role is None:
            raise RuntimeError("the team has no role yet")
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

    def _all_key_reads(self) -> int:
        return sum(
            seen.operation == "read" and seen.path == f"secret/data/{KEYS_PATH}"
            for seen in self.vault.requests_seen()
        )


class LocalStack(LocalTeam):
    """Starts a Bloq service and a Vault, and sets up an account; a context manager.

    :param options: Options of the Bloq service.
    """

    def __init__(self, options: LocalBloqOptions | None = None) -> None:
        super().__init__(LocalBloq(options), LocalVault())
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.enter_context(self.vault)
            opened.enter_context(self.bloq)
            self.set_up()
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._opened.close()
