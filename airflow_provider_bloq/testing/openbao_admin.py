"""What a Vault administrator sets up: secrets, policies and ways to log in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

__all__ = ["AppRole", "VaultAdmin"]


class AppRole(NamedTuple):
    """Credentials of an AppRole login.

    :param role_id: The half that is not a secret.
    :param secret_id: The secret half.
    """

    role_id: str
    secret_id: str


class VaultAdmin(ABC):
    """Root's everyday actions on a Vault server, one call each."""

    @property
    @abstractmethod
    def client(self) -> Any:
        """An :class:`hvac.Client` that may do everything."""

    @abstractmethod
    def await_answer(self, path: str, *, while_status: tuple[int, ...]) -> None:
        """Ask for a path again and again until it answers with another status."""

    def enable_kv(self, version: Literal[1, 2], mount: str) -> None:
        """Mount a KV engine and wait until it serves.

        :param version: Version of the engine.
        :param mount: Path that it is mounted at.
        """
        self.client.sys.enable_secrets_engine("kv", path=mount, options={"version": str(version)})
        if version == 2:
            # A fresh v2 engine answers 400 for a moment, while it "upgrades" its empty store.
            self.await_answer(f"{mount}/config", while_status=(400,))

    def kv_version(self, mount: str) -> int:
        """Tell the version of the KV engine at a mount."""
        options = self.client.sys.list_mounted_secrets_engines()["data"][f"{mount}/"]["options"]
        return int((options or {}).get("version", 1))

    def put(self, path: str, data: Mapping[str, Any], *, mount: str = "secret") -> int | None:
        """Write a KV secret.

        :return: Its new version; None in a v1 engine.
        """
        if self.kv_version(mount) == 1:
            self.client.secrets.kv.v1.create_or_update_secret(path, dict(data), mount_point=mount)
            return None
        answer = self.client.secrets.kv.v2.create_or_update_secret(path, dict(data), mount_point=mount)
        return int(answer["data"]["version"])

    def delete_version(self, path: str, *versions: int, mount: str = "secret") -> None:
        """Delete versions of a KV v2 secret; they can be undeleted."""
        self.client.secrets.kv.v2.delete_secret_versions(path, list(versions), mount_point=mount)

    def destroy(self, path: str, *versions: int, mount: str = "secret") -> None:
        """Destroy versions of a KV v2 secret for good."""
        self.client.secrets.kv.v2.destroy_secret_versions(path, list(versions), mount_point=mount)

    def write_policy(self, name: str, rules: str) -> None:
        """Write an ACL policy.

        :param rules: Its rules in HCL.
        """
        self.client.sys.create_or_update_policy(name, rules)

    def token(
        self,
        *policies: str,
        ttl: str = "1h",
        token_type: Literal["service", "batch"] = "service",
        default_policy: bool = True,
    ) -> str:
        """Make a token.

        :param ttl: Its life, such as ``2s``.
        :param default_policy: Whether it also has the policy ``default``, such as to look itself up.
        """
        answer = self.client.auth.token.create(
            policies=list(policies), ttl=ttl, type=token_type, no_default_policy=not default_policy
        )
        return str(answer["auth"]["client_token"])

    def revoke(self, token: str) -> None:
        """Revoke a service token at once; a batch token cannot be revoked."""
        self.client.auth.token.revoke(token)

    def approle(
        self,
        role: str,
        policies: Sequence[str],
        *,
        token_type: Literal["service", "batch"] = "batch",
        ttl: str = "1h",
        mount: str = "approle",
    ) -> AppRole:
        """Make or change an AppRole and give out a new secret id.

        :param ttl: Life of the tokens of its logins, such as ``2s``.
        """
        self._enable_auth("approle", mount)
        self.client.auth.approle.create_or_update_approle(
            role, token_policies=list(policies), token_type=token_type, token_ttl=ttl, mount_point=mount
        )
        role_id = self.client.auth.approle.read_role_id(role, mount_point=mount)["data"]["role_id"]
        secret_id = self.client.auth.approle.generate_secret_id(role, mount_point=mount)["data"]["secret_id"]
        return AppRole(role_id, secret_id)

    def destroy_secret_id(self, role: str, secret_id: str, *, mount: str = "approle") -> None:
        """Make a secret id useless for further logins."""
        self.client.auth.approle.destroy_secret_id(role, secret_id, mount_point=mount)

    def userpass(self, username: str, password: str, policies: Sequence[str], *, ttl: str = "1h") -> None:
        """Make or change a user who logs in by name and password."""
        self._enable_auth("userpass", "userpass")
        self.client.auth.userpass.create_or_update_user(
            username, password, token_policies=list(policies), token_ttl=ttl
        )

    def _enable_auth(self, method: str, mount: str) -> None:
        if f"{mount}/" not in self.client.sys.list_auth_methods()["data"]:
            self.client.sys.enable_auth_method(method, path=mount)
