"""Reads where the client keys are: in the connection itself, or in Vault; never in both."""

from __future__ import annotations

from airflow_provider_bloq.auth.keys import ClientKeys
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.settings.fields import (
    SHARING,
    VAULT_CONN_ID,
    VAULT_ID_FIELD,
    VAULT_KEY_FIELD,
    VAULT_PATH,
    Sharing,
)
from airflow_provider_bloq.settings.problems import Problems
from airflow_provider_bloq.settings.values import ExtraReader, read_text
from airflow_provider_bloq.settings.vault_path import read_vault_path
from airflow_provider_bloq.vault.location import VaultLocation

__all__ = ["DEFAULT_VAULT_CONN_ID", "read_credentials"]

#: The Vault connection that holds where only a path is given.
DEFAULT_VAULT_CONN_ID = "vault_default"

_VAULT_FIELDS = (VAULT_CONN_ID, VAULT_PATH, VAULT_ID_FIELD, VAULT_KEY_FIELD)


def read_credentials(
    conn_id: str, login: object, password: object, reader: ExtraReader, problems: Problems
) -> tuple[ClientKeys | None, VaultLocation | None]:
    """Read the client keys, or the place in Vault that holds them.

    :param conn_id: Id of the connection that is read.
    :param login: Its login: the client ID.
    :param password: Its password: the client secret.
    :param reader: Reads its extra.
    :param problems: Where problems are noted.
    :return: The one that is given, and None for the other. Both None where something is wrong, or where
        the connection shares a token and has no keys: it is a reader.
    """
    client_id = read_text("login", login, problems)
    client_secret = read_text("password", password, problems)
    vault = {field.name: reader.text(field) for field in _VAULT_FIELDS}
    if any(name in problems for name in ("login", "password", *vault)):
        # With one of them unread, it cannot be told whether too few are given or too many.
        return None, None

    given = [name for name, value in vault.items() if value is not None]
    shares = reader.choice(SHARING) is Sharing.VAULT
    if shares and given == ["vault_conn_id"]:
        if client_id or client_secret:
            problems.add(
                "vault_conn_id",
                "client keys are given in the connection (login, password), so none are read through it",
                "Enter it as shared_vault_conn_id, if it is for the shared token",
            )
        # It only says through which connection the shared token is read.
        given = []
    if shares and not given and not client_id and not client_secret:
        return None, None
    if given and (client_id or client_secret):
        problems.add(
            given[0],
            f"client keys are given in the connection (login, password) and by Vault ({', '.join(given)})",
            "Empty login and password, or remove the Vault fields",
        )
        return None, None
    if given:
        return None, _vault_location(conn_id, vault, given, problems)
    return _inline_keys(client_id, client_secret, problems), None


def _inline_keys(client_id: str | None, client_secret: str | None, problems: Problems) -> ClientKeys | None:
    if client_id and client_secret:
        return ClientKeys(client_id, Secret(client_secret))
    if client_id:
        problems.add("password", "the client ID is given, but no client secret", "Enter the client secret")
    elif client_secret:
        problems.add("login", "the client secret is given, but no client ID", "Enter the client ID")
    else:
        problems.add(
            "login",
            "no client keys are given",
            "Enter the client ID as login and the client secret as password, or vault_path to read them from Vault",
        )
    return None


def _vault_location(
    conn_id: str, vault: dict[str, str | None], given: list[str], problems: Problems
) -> VaultLocation | None:
    vault_conn_id = vault["vault_conn_id"] or DEFAULT_VAULT_CONN_ID
    path = ""
    if vault["vault_path"] is not None:
        path = read_vault_path("vault_path", vault["vault_path"], problems)
    else:
        problems.add(
            "vault_path",
            f"it is missing, while {', '.join(given)} is given",
            "Enter the path of the client keys in Vault, or remove the Vault fields",
        )
    if vault_conn_id == conn_id:
        problems.add(
            "vault_conn_id", "it names this very connection", "Enter the id of a connection of type vault"
        )
    return VaultLocation(vault_conn_id, path, vault["vault_id_field"], vault["vault_key_field"])
