"""Explain why a secret is not to be had at the place where it was looked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.vault.endpoint import VaultEndpoint
from airflow_provider_bloq.vault.kv import api_path
from airflow_provider_bloq.vault.probe import token_lives

__all__ = ["explain_absence", "explain_denial", "gone_version", "wrong_engine", "wrong_prefix"]


def gone_version(body: object, path: str, where: str) -> BloqConfigurationError | None:
    """Recognise a current version that was deleted or destroyed.

    :param body: JSON of Vault's 404; with a version that is gone, it holds the version's metadata.
    :param path: Path of the secret below the mount.
    :param where: What the secret is called in error messages.
    """
    data = body.get("data") if isinstance(body, Mapping) else None
    metadata = data.get("metadata") if isinstance(data, Mapping) else None
    if not isinstance(metadata, Mapping):
        return None
    destroyed = bool(metadata.get("destroyed"))
    return BloqConfigurationError.of(
        "vault_path",
        f"version {metadata.get('version')} of {path!r}, the current one, is"
        f" {'destroyed' if destroyed else 'deleted'}",
        "Write the client keys as a new version" + ("" if destroyed else ", or undelete this one"),
        where,
    )


def wrong_engine(endpoint: VaultEndpoint, mounted: int | None, where: str) -> BloqConfigurationError | None:
    """Recognise a secret that was read as if it lay in a KV engine of the other version.

    :param mounted: Version of the engine that is mounted; None if Vault does not tell.
    """
    if mounted in (None, endpoint.kv_version):
        return None
    return BloqConfigurationError.of(
        "vault_conn_id",
        f"the KV engine at {endpoint.mount!r} is version {mounted}, but was read as version"
        f" {endpoint.kv_version}",
        f'Set "kv_engine_version": {mounted} in the extras of the Vault connection',
        where,
    )


def wrong_prefix(endpoint: VaultEndpoint, path: str, where: str) -> BloqConfigurationError | None:
    """Recognise a path that begins with what is put before it anyway."""
    for prefix, fault in ((f"{endpoint.mount}/", "repeats the mount"), ("data/", "begins with data/")):
        if path.startswith(prefix):
            return BloqConfigurationError.of(
                "vault_path",
                f"it {fault}, so {_full(endpoint, path)!r} was read",
                f"Write {path.removeprefix(prefix)!r}: the mount is the schema of the Vault connection"
                f" ({endpoint.mount!r}), and data/ is put in where the engine needs it",
                where,
            )
    return None


def explain_denial(
    endpoint: VaultEndpoint, mounted: int | None, client: Any, path: str, where: str
) -> BloqConfigurationError:
    """Tell which permission is missing, or that the connection's token is of no use."""
    full = _full(endpoint, path)
    rule = f'path "{full}" {{ capabilities = ["read"] }}'
    if endpoint.auth_type == "token" and mounted is None and not token_lives(client):
        return BloqConfigurationError.of(
            "vault_conn_id",
            "Vault does not know its token, or lets it do nothing here",
            f"Put a token into the connection that has not expired and whose policy holds: {rule}",
            where,
        )
    doubt = (
        "" if mounted else f". Check, too, that the Vault connection's schema {endpoint.mount!r} is a mount"
    )
    return BloqConfigurationError.of(
        "vault_path",
        f"Vault does not permit this login to read {full!r}",
        f"Add to its policy: {rule}{doubt}",
        where,
    )


def explain_absence(endpoint: VaultEndpoint, no_route: bool, path: str, where: str) -> BloqConfigurationError:
    """Tell that there is no secret, or not even an engine.

    :param no_route: Whether Vault says that nothing is mounted there.
    """
    if no_route:
        return BloqConfigurationError.of(
            "vault_conn_id",
            f"nothing is mounted at {endpoint.mount!r}",
            "Set the schema of the Vault connection to the mount of the KV engine",
            where,
        )
    return BloqConfigurationError.of(
        "vault_path",
        f"there is no secret at {_full(endpoint, path)!r}",
        "Write the client keys there, or correct the path",
        where,
    )


def _full(endpoint: VaultEndpoint, path: str) -> str:
    return api_path(endpoint.kv_version, endpoint.mount, path)
