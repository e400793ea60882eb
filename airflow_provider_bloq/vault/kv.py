"""Read KV secrets, version 1 and 2 of the engine, and write those of version 2, through an hvac client."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

__all__ = [
    "KvSecret",
    "LostRace",
    "UnexpectedAnswer",
    "Written",
    "api_path",
    "read_kv",
    "read_kv1",
    "read_kv2",
    "seconds_between",
    "write_dated",
    "write_kv2",
]

#: Vault writes nanoseconds, Python reads microseconds.
_BEYOND_MICROSECONDS = re.compile(r"(\.\d{6})\d+")


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


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a write.

    :param version: The version that was written.
    :param age: How long ago that was, by the answer; None where it does not tell. More than it took is the
        difference between the clocks of the node that answered and the one that wrote.
    """

    version: int
    age: float | None = None


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
    return write_dated(client, mount, path, data, cas=cas).version


def write_dated(client: Any, mount: str, path: str, data: Mapping[str, Any], *, cas: int) -> Written:
    """Write a whole secret of a v2 engine, and see how its clocks agree; see :func:`write_kv2`."""
    from hvac.adapters import RawAdapter
    from hvac.exceptions import InvalidRequest

    # The client's own adapter drops the headers.
    raw = RawAdapter.from_adapter(client.adapter)
    try:
        answer = raw.post(
            f"/v1/{api_path(2, mount, path)}", json={"options": {"cas": cas}, "data": dict(data)}
        )
    except InvalidRequest as refusal:
        # Vault has no code of its own for it; the words are the same in OpenBao.
        if "check-and-set" in str(refusal):
            raise LostRace(f"{api_path(2, mount, path)} is no longer at version {cas}") from None
        raise
    try:
        body = answer.json()
    except ValueError:
        raise UnexpectedAnswer from None
    metadata = _mapping(body, "data")
    version = metadata.get("version")
    if not isinstance(version, int):
        raise UnexpectedAnswer
    return Written(version, seconds_between(metadata.get("created_time"), answer.headers.get("Date")))


def seconds_between(created_time: Any, date: Any) -> float | None:
    """Tell by what Vault says how long before an answer something was written.

    :param created_time: Time of a version, as RFC 3339.
    :param date: ``Date`` header of the answer, which has no fractions of a second.
    :return: Seconds; None where one of them is missing or no time.
    """
    try:
        written = datetime.fromisoformat(_BEYOND_MICROSECONDS.sub(r"\1", created_time))
        answered = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return None
    if written.tzinfo is None:
        return None
    return ((answered if answered.tzinfo else answered.replace(tzinfo=UTC)) - written).total_seconds()


def _mapping(holder: Any, name: str) -> Mapping[str, Any]:
    # Where the body is no JSON, hvac hands out the response object instead of a dictionary.
    value = holder.get(name) if isinstance(holder, Mapping) else None
    if not isinstance(value, Mapping):
        raise UnexpectedAnswer
    return value
