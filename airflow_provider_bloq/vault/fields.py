"""Take the client keys out of the fields of a Vault secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_bloq.auth.keys import ClientKeys
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.exceptions import BloqConfigurationError, FieldProblem
from airflow_provider_bloq.vault.location import VaultLocation

__all__ = ["pick_client_keys", "pick_text"]

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
