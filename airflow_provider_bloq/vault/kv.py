"""Read KV secrets, version 1 and 2 of the engine, and write those of version 2, through an hvac client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "KvSecret",
    "LostRace",
    "UnexpectedAnswer",
    "api_path",
    "read_kv",
    "read_kv1",
    "read_kv2",
    "write_kv2",
]


class UnexpectedAnswer(Exception):
    """A KV read was answered with success, but not in the form of this engine version."""


class LostRace(Exception):
    """A check-and-set write was refused: somebody else has written since the secret was read."""


@dataclass(frozen=True, slots=True)
class KvSecret:
    """What stood in a KV secret when it was read.

    :param data: Its fields. Left out of the repr.
    :param version: Its version; None in a v1 engine, which counts none.
    :param created_time: When this version was written, by Vault's clock (RFC 3339); None in a v1 engine.
    """

    data: Mapping[str, Any] = field(repr=False)
    version: int | None = None
    created_time: str | None = None


def api_path(kv_version: int, mount: str, path: str) -> str:
    """Name a secret as Vault's policies and audit logs do.

    :param kv_version: Version of the KV engine, 1 or 2.
    :param mount: Path that the engine is mounted at.
    :param path: Path of the secret below the mount.
    :return: The path below ``/v1/``.
    """
    return f"{mount}/data/{path}" if kv_version == 2 else f"{mount}/{path}"


def read_kv(client: Any, kv_version: int, mount: str, path: str) -> KvSecret:
    """Read the current version of a secret by one request.

    :param client: An :class:`hvac.Client` that is logged in.
    :param kv_version: Version of the KV engine, 1 or 2.
    :param mount: Path that the engine is mounted at.
    :param path: Path of the secret below the mount.
    :return: The secret.
    :raises hvac.exceptions.VaultError: Vault refuses or fails.
    :raises OSError: Vault cannot be reached (:class:`requests.RequestException`), or a CA file is missing.
    :raises UnexpectedAnswer: The engine is of the other version, or this is no Vault.
    """
    return read_kv2(client, mount, path) if kv_version == 2 else read_kv1(client, mount, path)


def read_kv1(client: Any, mount: str, path: str) -> KvSecret:
    """Read a secret of a v1 engine; see :func:`read_kv`."""
    return KvSecret(_mapping(client.secrets.kv.v1.read_secret(path=path, mount_point=mount), "data"))


def read_kv2(client: Any, mount: str, path: str, version: int | None = None) -> KvSecret:
    """Read a secret of a v2 engine; see :func:`read_kv`.

    :param version: The version to read; None for the current one.
    """
    answer = client.secrets.kv.v2.read_secret_version(
        path=path, mount_point=mount, version=version, raise_on_deleted_version=True
    )
    body = _mapping(answer, "data")
    metadata = _mapping(body, "metadata")
    number = metadata.get("version")
    if not isinstance(number, int):
        raise UnexpectedAnswer
    return KvSecret(_mapping(body, "data"), number, metadata.get("created_time"))


def write_kv2(client: Any, mount: str, path: str, data: Mapping[str, Any], *, cas: int) -> int:
    """Write a whole secret of a v2 engine, unless it was written since it was read.

    :param client: An :class:`hvac.Client` that is logged in.
    :param mount: Path that the engine is mounted at.
    :param path: Path of the secret below the mount.
    :param data: All of its fields: what is left out is gone from the new version.
    :param cas: The version that was read; 0 where there was none.
    :return: The version that was written.
    :raises LostRace: The current version is another.
    :raises hvac.exceptions.VaultError: Vault refuses or fails.
    :raises OSError: Vault cannot be reached (:class:`requests.RequestException`), or a CA file is missing.
    :raises UnexpectedAnswer: The engine is of the other version, or this is no Vault.
    """
    from hvac.exceptions import InvalidRequest

    try:
        answer = client.secrets.kv.v2.create_or_update_secret(
            path=path, secret=dict(data), cas=cas, mount_point=mount
        )
    except InvalidRequest as refusal:
        # Vault has no code of its own for it; the words are the same in OpenBao.
        if "check-and-set" in str(refusal):
            raise LostRace(f"{api_path(2, mount, path)} is no longer at version {cas}") from None
        raise
    version = _mapping(answer, "data").get("version")
    if not isinstance(version, int):
        raise UnexpectedAnswer
    return version


def _mapping(holder: Any, name: str) -> Mapping[str, Any]:
    # Where the body is no JSON, hvac hands out the response object instead of a dictionary.
    value = holder.get(name) if isinstance(holder, Mapping) else None
    if not isinstance(value, Mapping):
        raise UnexpectedAnswer
    return value
