"""What an Airflow Vault connection says, read by the rules of ``VaultHook`` and checked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["VaultConnection", "VaultEndpoint", "read_endpoint"]

_DEFAULT_MOUNT = "secret"
_DEFAULT_KV_VERSION = 2
_DEFAULT_AUTH_TYPE = "token"
#: The words that VaultHook takes for "use TLS"; it takes every other word for plain http.
_TRUE_WORDS = frozenset({"on", "t", "true", "y", "yes", "1"})
_FALSE_WORDS = frozenset({"false", "f", "n", "no", "0", "off", ""})
_TLS_TYPES = frozenset({"vaults", "https"})


class VaultConnection(Protocol):
    """The part of an Airflow connection that is read here."""

    conn_type: Any
    host: Any
    port: Any
    schema: Any
    login: Any
    password: Any

    @property
    def extra_dejson(self) -> Any:
        """The extras as a dictionary."""


@dataclass(frozen=True, slots=True)
class VaultEndpoint:
    """A Vault server, a KV engine in it, and who logs in there.

    :param url: Address of the server.
    :param namespace: Namespace of Vault Enterprise or OpenBao; empty for the root.
    :param mount: Path that the KV engine is mounted at.
    :param kv_version: Version of the KV engine, 1 or 2.
    :param auth_type: Name of the auth method, in ``VaultHook``'s words.
    :param login_digest: SHA-256 over all that takes part in the login, in hex.
    :param secrets: What must not be quoted, should a server ever echo it. Takes no part in comparisons.
    """

    url: str
    namespace: str
    mount: str
    kv_version: int
    auth_type: str
    login_digest: str
    secrets: tuple[Secret, ...] = field(default=(), repr=False, compare=False)


def read_endpoint(connection: VaultConnection, where: str) -> VaultEndpoint:
    """Read and check a Vault connection, before anything is sent to it.

    :param connection: An Airflow connection that ``VaultHook`` accepted.
    :param where: What the connection is called in error messages.
    :return: What it says.
    :raises BloqConfigurationError: It would send credentials over plain http or to anybody.
    """
    extra: Mapping[str, Any] = connection.extra_dejson
    options: Mapping[str, Any] = extra.get("client_kwargs") or {}
    url = _url(connection, extra)
    _refuse_unsafe(url, options, where)
    auth_type = extra.get("auth_type") or _DEFAULT_AUTH_TYPE
    password = connection.password
    if auth_type == "token" and not password:
        password = os.environ.get("VAULT_TOKEN")
    return VaultEndpoint(
        url=url,
        namespace=str(options.get("namespace") or "").strip("/"),
        mount=(connection.schema or _DEFAULT_MOUNT).strip("/"),
        kv_version=int(extra.get("kv_engine_version") or _DEFAULT_KV_VERSION),
        auth_type=auth_type,
        login_digest=_digest(connection.login, password, extra),
        secrets=tuple(Secret(text) for text in (password, extra.get("jwt_token")) if text),
    )


def _url(connection: VaultConnection, extra: Mapping[str, Any]) -> str:
    use_tls = extra.get("use_tls")
    if use_tls is None:
        tls = connection.conn_type in _TLS_TYPES
    else:
        tls = use_tls if isinstance(use_tls, bool) else str(use_tls).strip().lower() in _TRUE_WORDS
    port = f":{connection.port}" if connection.port else ""
    return f"{'https' if tls else 'http'}://{connection.host or ''}{port}"


def _refuse_unsafe(url: str, options: Mapping[str, Any], where: str) -> None:
    try:
        origin = Origin.of(url)
    except ValueError as error:
        raise BloqConfigurationError.of(
            "vault_conn_id",
            f"the address of the Vault server is not usable: {error}",
            "Set the connection's host to a bare name such as vault.example.com, and its port",
            where,
        ) from None
    if origin.scheme == "http" and not origin.is_loopback:
        raise BloqConfigurationError.of(
            "vault_conn_id",
            f"it would send Vault credentials over plain http to {origin.netloc}",
            'Set "use_tls": true in its extras: a connection of type vault speaks http without it',
            where,
        )
    verify = options.get("verify", True)
    if not verify or str(verify).lower() in _FALSE_WORDS:
        raise BloqConfigurationError.of(
            "vault_conn_id",
            "its client_kwargs turn off the check of Vault's certificate",
            'Set "verify" there to the path of the CA certificates that sign it, or leave it out',
            where,
        )


def _digest(login: Any, password: Any, extra: Mapping[str, Any]) -> str:
    parts = json.dumps([login, password, extra], sort_keys=True, default=str)
    return hashlib.sha256(parts.encode()).hexdigest()
