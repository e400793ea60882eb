"""KV secrets in Vault, engine versions 1 and 2: read, write with check-and-set, and pick fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from airflow_provider_bloq.auth.credentials import ClientKeys, Secret
from airflow_provider_bloq.connection.settings import VaultLocation
from airflow_provider_bloq.exceptions import BloqConfigurationError, FieldProblem

__all__ = [
    "KvSecret",
    "UnexpectedAnswer",
    "WriteConflict",
    "api_path",
    "deleted_version",
    "pick_client_keys",
    "pick_text",
    "read_kv",
    "read_kv2",
    "write_kv2",
]

#: Vault writes nanoseconds, Python reads microseconds.
_BEYOND_MICROSECONDS = re.compile(r"(\.\d{6})\d+")
_MAX_LISTED_NAMES = 20
_MAX_LISTED_CHARACTERS = 40


class UnexpectedAnswer(Exception):
    """A KV request succeeded, but its answer is not what this engine version sends."""


class WriteConflict(Exception):
    """A check-and-set write was refused: somebody has written the secret since it was read."""


@dataclass(frozen=True, slots=True)
class KvSecret:
    """One version of a KV secret.

    :param data: Its fields. Left out of the repr.
    :param version: Its version; None in a v1 engine.
    :param age: Seconds from its creation to the answer, both by Vault's clocks; None if Vault does not say. Up to
        one second too low, since a ``Date`` has no fractions.
    """

    data: Mapping[str, Any] = field(repr=False)
    version: int | None = None
    age: float | None = None


def api_path(kv_version: int, mount: str, path: str) -> str:
    """Return the path of a secret below ``/v1/``, as in Vault's policies and audit logs.

    :param kv_version: Version of the KV engine, 1 or 2.
    :param mount: Path at which the engine is mounted.
    :param path: Path of the secret below the mount.
    """
    return f"{mount}/data/{path}" if kv_version == 2 else f"{mount}/{path}"


def read_kv(client: Any, kv_version: int, mount: str, path: str) -> KvSecret:
    """Read the current version of a secret with one request.

    :param client: An :class:`hvac.Client` that is logged in.
    :param kv_version: Version of the KV engine, 1 or 2.
    :param mount: Path at which the engine is mounted.
    :param path: Path of the secret below the mount.
    :raises hvac.exceptions.VaultError: Vault refuses or fails.
    :raises OSError: Vault cannot be reached (:class:`requests.RequestException`), or a CA file is missing.
    :raises UnexpectedAnswer: The engine has the other version, or the server is not a Vault.
    """
    if kv_version == 2:
        return read_kv2(client, mount, path)
    return KvSecret(_mapping(client.secrets.kv.v1.read_secret(path=path, mount_point=mount), "data"))


def read_kv2(client: Any, mount: str, path: str) -> KvSecret:
    """Read a secret of a v2 engine; see :func:`read_kv`."""
    answer = _raw(client).get(_url(mount, path))
    body = _data_of(answer)
    version, age = _version_and_age(answer, _mapping(body, "metadata"))
    return KvSecret(_mapping(body, "data"), version, age)


def write_kv2(
    client: Any, mount: str, path: str, data: Mapping[str, Any], *, cas: int
) -> tuple[int, float | None]:
    """Write a whole secret of a v2 engine, unless it was written since it was read.

    :param client: An :class:`hvac.Client` that is logged in.
    :param mount: Path at which the engine is mounted.
    :param path: Path of the secret below the mount.
    :param data: All of its fields: the new version has no others.
    :param cas: The version that was read; 0 if there was none.
    :return: The new version, and its age as in :class:`KvSecret`. An age greater than the time that the write took
        is the difference between the clocks of Vault's nodes.
    :raises WriteConflict: The current version is another one.
    :raises hvac.exceptions.VaultError: Vault refuses or fails.
    :raises OSError: Vault cannot be reached (:class:`requests.RequestException`), or a CA file is missing.
    :raises UnexpectedAnswer: The engine has version 1, or the server is not a Vault.
    """
    from hvac.exceptions import InvalidRequest

    try:
        answer = _raw(client).post(_url(mount, path), json={"options": {"cas": cas}, "data": dict(data)})
    except InvalidRequest as refusal:
        # Vault has no code for this; OpenBao uses the same words.
        if "check-and-set" in str(refusal):
            raise WriteConflict(f"{api_path(2, mount, path)} is no longer at version {cas}") from None
        raise
    return _version_and_age(answer, _data_of(answer))


def deleted_version(absence: Any) -> int:
    """Return the version of a secret whose current version is deleted, or 0 if there is no secret.

    :param absence: The :class:`hvac.exceptions.InvalidPath` of the read; raised again if there is no engine.
    """
    if absence.errors:
        raise absence
    body = absence.json.get("data") if isinstance(absence.json, Mapping) else None
    metadata = body.get("metadata") if isinstance(body, Mapping) else None
    version = metadata.get("version") if isinstance(metadata, Mapping) else None
    return version if isinstance(version, int) else 0


def _raw(client: Any) -> Any:
    from hvac.adapters import RawAdapter

    # The client's own adapter drops the headers.
    return RawAdapter.from_adapter(client.adapter)


def _url(mount: str, path: str) -> str:
    return f"/v1/{quote(api_path(2, mount, path))}"


def _data_of(answer: Any) -> Mapping[str, Any]:
    try:
        return _mapping(answer.json(), "data")
    except ValueError:
        raise UnexpectedAnswer from None


def _mapping(holder: Any, name: str) -> Mapping[str, Any]:
    # If the body is not JSON, hvac returns the response object instead of a dictionary.
    value = holder.get(name) if isinstance(holder, Mapping) else None
    if not isinstance(value, Mapping):
        raise UnexpectedAnswer
    return value


def _version_and_age(answer: Any, metadata: Mapping[str, Any]) -> tuple[int, float | None]:
    version = metadata.get("version")
    if not isinstance(version, int):
        raise UnexpectedAnswer
    return version, _seconds_between(metadata.get("created_time"), answer.headers.get("Date"))


def _seconds_between(created_time: Any, date: Any) -> float | None:
    """Return the seconds from an RFC 3339 time to an HTTP date; None if one of them is missing or unreadable."""
    try:
        created = datetime.fromisoformat(_BEYOND_MICROSECONDS.sub(r"\1", created_time))
        answered = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return None
    if created.tzinfo is None:
        return None
    return ((answered if answered.tzinfo else answered.replace(tzinfo=UTC)) - created).total_seconds()


def pick_client_keys(data: Mapping[str, Any], location: VaultLocation, where: str) -> ClientKeys:
    """Find client ID and client secret among the fields of a secret.

    White space around a value is dropped: a value from a file ends with a line break.

    :param data: The fields of the secret.
    :param location: Names the two fields.
    :param where: The secret, for error messages.
    :raises BloqConfigurationError: A field is missing, empty or not a string. No value is quoted.
    """
    client_id = pick_text(data, location.id_fields, "vault_id_field")
    client_secret = pick_text(data, location.key_fields, "vault_key_field")
    if isinstance(client_id, str) and isinstance(client_secret, str):
        return ClientKeys(client_id, Secret(client_secret))
    problems = [found for found in (client_id, client_secret) if isinstance(found, FieldProblem)]
    raise BloqConfigurationError(problems, where)


def pick_text(data: Mapping[str, Any], names: tuple[str, ...], setting: str) -> str | FieldProblem:
    """Find one string among the fields of a secret.

    :param data: The fields of the secret.
    :param names: Possible names of the field, the preferred one first.
    :param setting: The setting that names the field, for the problem.
    :return: The string without white space around it, or the problem, which quotes no value.
    """
    name = next((name for name in names if name in data), None)
    if name is None:
        return FieldProblem(
            setting,
            f"the secret has no field {' or '.join(map(repr, names))}; it has {_listed(data)}",
            f"Set {setting} to the right name, or add the field to the secret",
        )
    value = data[name]
    if not isinstance(value, str):
        return FieldProblem(setting, f"the field {name!r} is not a string", "Write it to Vault as a string")
    if not value.strip():
        return FieldProblem(setting, f"the field {name!r} is empty", "Write its value to Vault")
    return value.strip()


def _listed(data: Mapping[str, Any]) -> str:
    if not data:
        return "no fields"
    names = [repr(name[:_MAX_LISTED_CHARACTERS]) for name in sorted(data)[:_MAX_LISTED_NAMES]]
    more = len(data) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
