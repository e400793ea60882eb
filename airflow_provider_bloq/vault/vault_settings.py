"""The settings of an Airflow Vault connection, read as ``VaultHook`` reads them, and checked."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = [
    "VaultConnection",
    "VaultSettings",
    "read_vault_settings",
    "require_token",
]


_DEFAULT_MOUNT = "secret"
_DEFAULT_KV_VERSION = 2
_DEFAULT_AUTH_TYPE = "token"
#: Values that VaultHook reads as "use TLS"; it reads every other word as plain http.
_TRUE_WORDS = frozenset({"on", "t", "true", "y", "yes", "1"})
_FALSE_WORDS = frozenset({"false", "f", "n", "no", "0", "off", ""})
_TLS_TYPES = frozenset({"vaults", "https"})
#: The characters that a header can hold. An error about another one would quote the token.
_TOKEN = re.compile(r"[!-~]+", re.ASCII)


class VaultConnection(Protocol):
    """The parts of an Airflow connection that are read here."""

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
class VaultSettings:
    """A Vault server, a KV engine and a login.

    :param url: Address of the server.
    :param namespace: Namespace of Vault Enterprise or OpenBao; empty for the root namespace.
    :param mount: Path at which the KV engine is mounted.
    :param kv_version: Version of the KV engine, 1 or 2.
    :param auth_type: Auth method, as ``VaultHook`` names it.
    :param login_digest: SHA-256 of everything that takes part in the login, in hex.
    :param secrets: Values that must not be quoted if a server repeats them. Not compared.
    """

    url: str
    namespace: str
    mount: str
    kv_version: int
    auth_type: str
    login_digest: str
    secrets: tuple[Secret, ...] = field(default=(), repr=False, compare=False)


def read_vault_settings(connection: VaultConnection, where: str) -> VaultSettings:
    """Read and check a Vault connection before anything is sent.

    :param connection: An Airflow connection that ``VaultHook`` accepted.
    :param where: The connection, for error messages.
    :raises BloqConfigurationError: It would send credentials over plain http or to an unverified server, or its
        token is malformed.
    """
    extra: Mapping[str, Any] = connection.extra_dejson
    options: Mapping[str, Any] = extra.get("client_kwargs") or {}
    url = _url(connection, extra)
    _refuse_unsafe(url, options, where)
    auth_type = extra.get("auth_type") or _DEFAULT_AUTH_TYPE
    password = connection.password
    if auth_type == "token":
        source = "its password"
        if not password:
            source, password = "VAULT_TOKEN in the environment of the task", os.environ.get("VAULT_TOKEN")
        if password:
            require_token(password, source, where)
    return VaultSettings(
        url=url,
        namespace=str(options.get("namespace") or "").strip("/"),
        mount=(connection.schema or _DEFAULT_MOUNT).strip("/"),
        kv_version=int(extra.get("kv_engine_version") or _DEFAULT_KV_VERSION),
        auth_type=auth_type,
        login_digest=_digest(connection.login, password, extra),
        secrets=_secrets(password, extra.get("jwt_token")),
    )


def require_token(text: Any, source: str, where: str) -> str:
    """Return a Vault token without the white space around it.

    :param text: The token.
    :param source: Where it comes from, for the error, which does not quote it.
    :param where: The connection, for error messages.
    :raises BloqConfigurationError: A header cannot hold it.
    """
    token = text.strip() if isinstance(text, str) else ""
    if not _TOKEN.fullmatch(token):
        raise BloqConfigurationError.of(
            "vault_conn_id",
            f"{source} is not a Vault token: "
            + ("it contains a character that no token has" if token else "it is blank"),
            "Enter the token alone, without quotation marks, blanks or invisible characters",
            where,
        )
    return token


def _secrets(*texts: Any) -> tuple[Secret, ...]:
    # Longest first: replacing a part of a longer secret would leave the rest of it.
    forms = {form for text in texts if text for form in (str(text), str(text).strip()) if form}
    return tuple(Secret(form) for form in sorted(forms, key=len, reverse=True))


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
            "its client_kwargs turn off the verification of Vault's certificate",
            'Set "verify" there to the path of the CA certificates that sign it, or remove it',
            where,
        )


def _digest(login: Any, password: Any, extra: Mapping[str, Any]) -> str:
    parts = json.dumps([login, password, extra], sort_keys=True, default=str)
    return hashlib.sha256(parts.encode()).hexdigest()
