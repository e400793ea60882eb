"""Read KV secrets, version 1 and 2 of the engine, and write those of version 2, through an hvac client."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from airflow_provider_bloq.auth.credentials import ClientKeys, Secret
from airflow_provider_bloq.connection.settings import VaultLocation
from airflow_provider_bloq.exceptions import BloqConfigurationError, FieldProblem

__all__ = [
    "DatedSecret",
    "KvSecret",
    "UnexpectedAnswer",
    "WriteConflict",
    "Written",
    "api_path",
    "pick_client_keys",
    "pick_text",
    "read_dated",
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


class WriteConflict(Exception):
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
    :raises WriteConflict: The current version is another.
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
            raise WriteConflict(f"{api_path(2, mount, path)} is no longer at version {cas}") from None
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


@dataclass(frozen=True, slots=True)
class DatedSecret:
    """What stood in a KV v2 secret when it was read.

    :param version: Its version; 0 where there is none yet.
    :param data: Its fields; None where there is no current version, or that was deleted. Left out of the
        repr.
    :param age: Seconds since that version was written, up to one second too few: a ``Date`` has no
        fractions.
    """

    version: int
    data: Mapping[str, Any] | None = field(default=None, repr=False)
    age: float = 0.0


def read_dated(client: Any, mount: str, path: str) -> DatedSecret:
    """Read the current version of a secret of a v2 engine by one request.

    Its age is the ``Date`` of the very answer minus the version's ``created_time``: both are Vault's, if not
    of the same node.

    :param client: An :class:`hvac.Client` that is logged in.
    :param mount: Path that the engine is mounted at.
    :param path: Path of the secret below the mount.
    :raises hvac.exceptions.VaultError: Vault refuses or fails.
    :raises OSError: Vault cannot be reached (:class:`requests.RequestException`), or a CA file is missing.
    :raises UnexpectedAnswer: This is no KV v2 engine, or no Vault.
    """
    from hvac.adapters import RawAdapter
    from hvac.exceptions import InvalidPath

    # The client's own adapter drops the headers.
    raw = RawAdapter.from_adapter(client.adapter)
    try:
        response = raw.get(f"/v1/{api_path(2, mount, path)}")
    except InvalidPath as absence:
        return _without_current_version(absence)
    try:
        body = response.json()["data"]
        data, metadata = body["data"], body["metadata"]
        version, created_time = metadata["version"], metadata["created_time"]
    except (KeyError, TypeError, ValueError):
        raise UnexpectedAnswer from None
    age = seconds_between(created_time, response.headers.get("Date"))
    if not isinstance(data, Mapping) or not isinstance(version, int) or age is None:
        raise UnexpectedAnswer
    return DatedSecret(version, data, age)


def _without_current_version(absence: Any) -> DatedSecret:
    """Tell a secret that is not there (yet, or any more) from an engine that is not there."""
    if absence.errors:
        raise absence
    body = absence.json.get("data") if isinstance(absence.json, Mapping) else None
    metadata = body.get("metadata") if isinstance(body, Mapping) else None
    version = metadata.get("version") if isinstance(metadata, Mapping) else None
    # The next write has to follow the deleted version, too.
    return DatedSecret(version if isinstance(version, int) else 0)


_SHOWN_NAMES = 20
_SHOWN_CHARACTERS = 40


def pick_client_keys(data: Mapping[str, Any], location: VaultLocation, where: str) -> ClientKeys:
    """Find client ID and client secret among the fields of a secret.

    White space around a value is dropped: files that are put into Vault end with a line break.

    :param data: The fields of the secret.
    :param location: Names the two fields.
    :param where: What the secret is called in error messages.
    :return: The pair.
    :raises BloqConfigurationError: A field is missing, empty or no text. No value is quoted.
    """
    client_id = pick_text(data, location.id_fields, "vault_id_field")
    client_secret = pick_text(data, location.key_fields, "vault_key_field")
    problems = [found for found in (client_id, client_secret) if isinstance(found, FieldProblem)]
    if isinstance(client_id, str) and isinstance(client_secret, str):
        return ClientKeys(client_id, Secret(client_secret))
    raise BloqConfigurationError(problems, where)


def pick_text(data: Mapping[str, Any], names: tuple[str, ...], setting: str) -> str | FieldProblem:
    """Find one text among the fields of a secret.

    :param data: The fields of the secret.
    :param names: Names that it may stand under, the preferred one first.
    :param setting: The setting that names the field, for the problem.
    :return: The text without white space around it, or what is wrong. No value is quoted.
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
        return FieldProblem(setting, f"the field {name!r} is no text", "Write it into Vault as a string")
    if not value.strip():
        return FieldProblem(setting, f"the field {name!r} is empty", "Write its value into Vault")
    return value.strip()


def _listed(data: Mapping[str, Any]) -> str:
    if not data:
        return "no fields"
    names = [repr(name[:_SHOWN_CHARACTERS]) for name in sorted(data)[:_SHOWN_NAMES]]
    more = len(data) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
