"""Read a KV v2 secret together with its age by Vault's own clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_bloq.vault.kv import UnexpectedAnswer, api_path, seconds_between

__all__ = ["DatedSecret", "read_dated"]


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
