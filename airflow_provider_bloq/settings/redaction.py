"""Finds three stars that Airflow showed in place of a secret and that were then saved as the value."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_bloq.auth.secret import REDACTED
from airflow_provider_bloq.settings.problems import Problems

__all__ = ["refuse_redacted"]


def refuse_redacted(field: str, value: object, problems: Problems) -> None:
    """Note a problem if a value is, or holds at any depth, Airflow's redaction.

    :param field: Name that the value goes by in the connection.
    :param value: The value as given.
    :param problems: Where to note it.
    """
    if _holds_redaction(value):
        problems.add(
            field,
            f"it holds {REDACTED}, which is Airflow's redaction, saved by mistake",
            "Enter the value again",
        )


def _holds_redaction(value: object) -> bool:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if REDACTED in item:
                return True
        elif isinstance(item, Mapping):
            pending.extend(item.keys())
            pending.extend(item.values())
        elif isinstance(item, (list, tuple, set, frozenset)):
            pending.extend(item)
    return False
