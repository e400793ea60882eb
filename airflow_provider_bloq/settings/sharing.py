"""Reads whether a fleet shares its access token, and where."""

from __future__ import annotations

from airflow_provider_bloq.settings.fields import SHARED_VAULT_CONN_ID, SHARED_VAULT_PATH, SHARING, Sharing
from airflow_provider_bloq.settings.problems import Problems
from airflow_provider_bloq.settings.values import ExtraReader
from airflow_provider_bloq.settings.vault_path import read_vault_path
from airflow_provider_bloq.vault.location import SharedLocation, VaultLocation

__all__ = ["read_sharing"]

#: The Vault connection that holds where only a path is given.
_DEFAULT_CONN_ID = "vault_default"


def read_sharing(
    conn_id: str,
    keys_vault_conn_id: str | None,
    keys: VaultLocation | None,
    reader: ExtraReader,
    problems: Problems,
) -> SharedLocation | None:
    """Read where the access token is shared.

    :param conn_id: Id of the connection that is read.
    :param keys_vault_conn_id: Its ``vault_conn_id``, through which the token is shared, too, unless
        another is named.
    :param keys: Where in Vault the client keys are, if there.
    :param reader: Reads its extra.
    :param problems: Where problems are noted.
    :return: The place; None with ``sharing: task``, or where something is wrong.
    """
    path, vault_conn_id = reader.text(SHARED_VAULT_PATH), reader.text(SHARED_VAULT_CONN_ID)
    if reader.choice(SHARING) is Sharing.TASK:
        for name, value in (("shared_vault_path", path), ("shared_vault_conn_id", vault_conn_id)):
            if value is not None and "sharing" not in problems:
                problems.add(
                    name,
                    "it is given, but sharing is not vault: each task has a token of its own",
                    "Set sharing to vault, or remove it",
                )
        return None
    if path is None:
        problems.add(
            "shared_vault_path",
            "it is missing, while sharing is vault",
            "Enter a path in Vault that nothing else uses, such as bloq/shared",
        )
        return None
    location = SharedLocation(
        vault_conn_id or keys_vault_conn_id or _DEFAULT_CONN_ID,
        read_vault_path("shared_vault_path", path, problems),
    )
    if location.vault_conn_id == conn_id:
        problems.add(
            "shared_vault_conn_id",
            "it names this very connection",
            "Enter the id of a connection of type vault",
        )
    if keys is not None and keys.path in (location.path, location.lease_path):
        problems.add(
            "shared_vault_path",
            "the client keys lie there or right below",
            "Enter a path of its own: whoever may read it would read the client keys",
        )
    return location
