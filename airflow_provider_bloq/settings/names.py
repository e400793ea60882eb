"""Judges the names of extra fields: mistyped ones, and standard fields that went astray."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from airflow_provider_bloq.settings.fields import EXTRA_FIELDS
from airflow_provider_bloq.settings.problems import Problems

__all__ = ["refuse_wrong_names"]

# Keys, spelt without case and punctuation, that belong into a field of their own of the connection:
# Airflow encrypts and masks the password whatever its name, an extra only under certain names.
_STANDARD_FIELDS = {
    "accounts": "host",
    "accountshost": "host",
    "accountsurl": "host",
    "clientid": "login",
    "clientkey": "password",
    "clientsecret": "password",
    "host": "host",
    "login": "login",
    "password": "password",
    "port": "port",
    "secret": "password",
}

# Low enough for a letter lost, doubled or swapped; high enough to let pass the fields of later
# versions, which may share a word with one of today.
_CLOSENESS = 0.85

_FORM_PREFIX = "extra__bloq__"


def refuse_wrong_names(names: Iterable[str], problems: Problems) -> None:
    """Note a problem for each name that is surely a mistake; other unknown names are let pass.

    :param names: The keys of the connection's extra.
    :param problems: Where to note them.
    """
    for name in names:
        if name in EXTRA_FIELDS:
            continue
        if (standard := _STANDARD_FIELDS.get(_bare(name))) is not None:
            # An extra called "password" must not be taken for the field of that name.
            field = f"extra.{name}" if name in _STANDARD_FIELDS.values() else name
            problems.add(field, "it does not belong into extra", f"Enter it as the connection's {standard}")
        elif (meant := _near_miss(name)) is not None:
            problems.add(name, "there is no such field", f"Did you mean {meant}?")


def _near_miss(name: str) -> str | None:
    by_bare_name = {_bare(known): known for known in EXTRA_FIELDS}
    if (same := by_bare_name.get(_bare(name))) is not None:
        return same
    close = get_close_matches(name.lower(), list(EXTRA_FIELDS), n=1, cutoff=_CLOSENESS)
    return close[0] if close else None


def _bare(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower().removeprefix(_FORM_PREFIX)))
