"""Judges a path of a secret in Vault."""

from __future__ import annotations

from airflow_provider_bloq.settings.problems import Problems

__all__ = ["read_vault_path"]


def read_vault_path(field: str, text: str, problems: Problems) -> str:
    """Read a path below a mount.

    :param field: Name of the field, for the problem.
    :param text: What was entered.
    :param problems: Where a problem is noted.
    :return: The path, without slashes around it.
    """
    path = text.strip("/")
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        problems.add(
            field,
            "it has an empty part, or one of dots only",
            "Enter the path below the mount, such as bloq/client",
        )
    return path
