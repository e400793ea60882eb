"""Vault policies of least privilege for the roles of a fleet, as the documentation has them.

Paths are those of a KV engine of version 2, where the data of ``bloq/shared`` in ``secret`` is read and
written at ``secret/data/bloq/shared``, and how many versions are kept stands at ``secret/metadata/…``.
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
    """Give the policy of tasks that have a token each (``sharing: task``): read the client keys, no more.

    :param keys_path: Path of the client keys below the mount.
    """
    return _rule(f"{mount}/data/{keys_path}", "read")


def reader_policy(shared_path: str, *, mount: str = "secret") -> str:
    """Give the policy of tasks that only read the shared token: no client keys, no writing.

    :param shared_path: Path of the shared token below the mount.
    """
    return _rule(f"{mount}/data/{shared_path}", "read")


def member_policy(shared_path: str, keys_path: str | None = None, *, mount: str = "secret") -> str:
    """Give the policy of a member, such as a broker: read the client keys, keep the shared token fresh.

    The last two rules let it limit the versions that Vault keeps; it works without them.

    :param shared_path: Path of the shared token below the mount.
    :param keys_path: Path of the client keys; None where they stand in the connection.
    """
    rules = [worker_policy(keys_path, mount=mount)] if keys_path is not None else []
    paths = (shared_path, f"{shared_path}/lease")
    rules += [_rule(f"{mount}/data/{path}", "create", "read", "update") for path in paths]
    rules += [_rule(f"{mount}/metadata/{path}", "create", "update") for path in paths]
    return "\n".join(rules)


def _rule(path: str, *capabilities: str) -> str:
    listed = ", ".join(f'"{capability}"' for capability in capabilities)
    return f'path "{path}" {{ capabilities = [{listed}] }}'


#: Where the client keys lie, below the mount ``secret``.
KEYS_PATH = "bloq/client-keys"
#: What the role of the workers may do: read this one secret.
POLICY = f'path "secret/data/{KEYS_PATH}" {{ capabilities = ["read"] }}'
ROLE = "airflow"


class LocalTeam:
    """Keeps the client keys of an account right in Vault, and breaks them if it is asked to.

    :param bloq: The service that has the account.
    :param vault: The Vault that has the keys.
    """

    def __init__(self, bloq: LocalBloq, vault: LocalVault) -> None:
        self.bloq = bloq
        self.vault = vault
        self._keys: IssuedKeys | None = None
        self._account_id = ""
        self._role: AppRole | None = None
        self._earlier_reads = 0

    def settle(self) -> Self:
        """Open an account, put client keys into Vault, and make the role that reads them. Both must run."""
        email = f"team-{secrets.token_hex(6)}@example.com"
        self._account_id = self.bloq.create_account(email, secrets.token_urlsafe(16), manager=True).id
        self.renew_keys()
        self.vault.write_policy(ROLE, POLICY)
        self._role = self.vault.approle(ROLE, [ROLE], token_type="batch", ttl="20m")
        self._earlier_reads = self._all_key_reads()
        return self

    @property
    def keys(self) -> IssuedKeys:
        """The client keys that Vault holds."""
        if self._keys is None:
            raise RuntimeError("the team has no account yet")
        return self._keys

    def rotate_keys(self) -> None:
        """Make a new pair of client keys, store it in Vault, and delete the old one with all its tokens."""
        old = self.keys
        self.renew_keys()
        self.bloq.delete_client_keys(old.client_id)
        self.bloq.revoke_access_tokens(old.client_id)

    def renew_keys(self) -> None:
        """Make a new pair of client keys and store it in Vault; the old one is left as it is."""
        keys = self.bloq.create_client_keys(self._account_id)
        self.vault.put(KEYS_PATH, {"clientId": keys.client_id, "clientSecret": keys.client_secret})
        self._keys = keys

    def revoke_keys(self) -> None:
        """Delete the client keys at Bloq with all their tokens, while Vault still holds them."""
        self.bloq.delete_client_keys(self.keys.client_id)
        self.bloq.revoke_access_tokens(self.keys.client_id)

    def revoke_tokens(self) -> None:
        """End every token that was made from the client keys in Vault; the keys themselves stay good."""
        self.bloq.revoke_refresh_tokens(self.keys.client_id)
        self.bloq.revoke_access_tokens(self.keys.client_id)

    def key_reads(self) -> int:
        """Count how often the team's client keys were read from Vault."""
        return self._all_key_reads() - self._earlier_reads

    def connections(self) -> dict[str, dict[str, Any]]:
        """Give the Airflow connections for the two, by their ids: ``bloq_default`` and ``vault_bloq``."""
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
    """Runs both and keeps the keys in Vault right; a context manager.

    :param options: Switches of the Bloq service.
    """

    def __init__(self, options: LocalBloqOptions | None = None) -> None:
        super().__init__(LocalBloq(options), LocalVault())
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.enter_context(self.vault)
            opened.enter_context(self.bloq)
            self.settle()
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._opened.close()
