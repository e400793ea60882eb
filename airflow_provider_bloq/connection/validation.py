"""Collects what is wrong with a connection, so that all of it is told at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from airflow_provider_bloq.auth.credentials import REDACTED, Secret
from airflow_provider_bloq.connection.fields import (
    EXTRA_FIELDS,
    ChoiceField,
    ChoiceT,
    ListField,
    NumberField,
    OptionalNumberField,
    SecretTableField,
    TableField,
    TextField,
)
from airflow_provider_bloq.exceptions import BloqConfigurationError, FieldProblem
from airflow_provider_bloq.flow import responses

__all__ = [
    "ExtraReader",
    "Problems",
    "read_number",
    "read_port",
    "read_text",
    "refuse_redacted",
    "refuse_wrong_names",
]


_SHOWN_LENGTH = 80


class Problems:
    """The wrong fields found so far.

    :param where: What the fields belong to, such as ``connection 'bloq_default'``.
    :param hidden: The client secret, if there is one: a value that repeats it is not shown.
    """

    def __init__(self, where: str, hidden: str = "") -> None:
        self._where = where
        self._hidden = hidden
        self._found: list[FieldProblem] = []

    def add(self, field: str, problem: str, remedy: str) -> None:
        """Note one; a field that was found wrong before keeps its first problem, the others follow from it."""
        if field not in self:
            self._found.append(FieldProblem(field, problem, remedy))

    def __contains__(self, field: str) -> bool:
        return any(problem.field == field for problem in self._found)

    def shown(self, value: object) -> str:
        """Make a value of a field that is not secret readable: quoted, cut to 80 characters."""
        text = repr(value)
        if self._hidden and self._hidden in text:
            return repr(REDACTED)
        return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 1]}…"

    def raise_if_any(self) -> None:
        """Raise one error for all that was found.

        :raises BloqConfigurationError: Something was.
        """
        if self._found:
            raise BloqConfigurationError(self._found, self._where)


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


_SEPARATORS = re.compile(r"[,\n]")


def read_text(field: str, value: object, problems: Problems) -> str | None:
    """Read a text: blanks around it are dropped, an empty one counts as not given.

    :param field: Name of the field, for the problem.
    :param value: The value as given; a :class:`Secret` is read too.
    :param problems: Where a problem is noted.
    :return: The text; None where it is not given or wrong.
    """
    if value is None or field in problems:
        return None
    if not isinstance(value, str):
        problems.add(field, f"it is no text but of type {type(value).__name__}", "Enter a text")
        return None
    text = (value.reveal() if isinstance(value, Secret) else value).strip()
    if not text.isprintable():
        problems.add(field, "it holds a line break or another control character", "Enter the value again")
        return None
    return text or None


def read_number(field: str, value: object, lowest: float, highest: float, problems: Problems) -> float | None:
    """Read a number; null and the empty text count as not given.

    :param field: Name of the field, for the problem.
    :param value: A number, or a text that spells one.
    :param lowest: Smallest number allowed.
    :param highest: Largest number allowed.
    :param problems: Where a problem is noted.
    :return: The number; None where it is not given or wrong.
    """
    value = value.strip() or None if isinstance(value, str) else value
    if value is None or field in problems:
        return None
    remedy = f"Enter a number from {lowest} to {highest}"
    number = _as_float(value)
    if number is None:
        problems.add(field, f"{problems.shown(value)} is no number", remedy)
    elif not lowest <= number <= highest:
        problems.add(field, f"{problems.shown(value)} is out of range", remedy)
    else:
        return number
    return None


def read_port(value: object, problems: Problems) -> int | None:
    """Read the connection's port; 0, which the form sends for an empty one, counts as not given.

    :param value: A number, or a text that spells one.
    :param problems: Where a problem is noted.
    :return: The port; None where it is not given or wrong.
    """
    if not isinstance(value, bool) and value in (0, "0"):
        return None
    number = read_number("port", value, 1, 65535, problems)
    if number is not None and not number.is_integer():
        problems.add("port", f"{problems.shown(value)} is no whole number", "Enter a number from 1 to 65535")
        return None
    return None if number is None else int(number)


class ExtraReader:
    """Reads the extra fields as their descriptions in ``fields.py`` demand.

    :param extra: The connection's extra.
    :param problems: Where problems are noted.
    """

    def __init__(self, extra: Mapping[str, Any], problems: Problems) -> None:
        self._extra = extra
        self._problems = problems

    def text(self, field: TextField) -> str | None:
        """Read a text; None where it is not given or wrong."""
        return read_text(field.name, self._extra.get(field.name), self._problems)

    def choice(self, field: ChoiceField[ChoiceT]) -> ChoiceT:
        """Read one of the allowed values; the default where it is not given or wrong."""
        text = read_text(field.name, self._extra.get(field.name), self._problems)
        choice = field.default if text is None else field.choices.get(text.lower())
        if choice is None:
            self._problems.add(
                field.name,
                f"{self._problems.shown(text)} is none of the allowed values",
                f"Enter one of {', '.join(field.choices)}",
            )
            return field.default
        return choice

    def number(self, field: NumberField) -> float:
        """Read a number; the default where it is not given or wrong."""
        number = self._number(field)
        return float(field.default) if number is None else number

    def optional_number(self, field: OptionalNumberField) -> float | None:
        """Read a number; None where it is not given or wrong."""
        return self._number(field)

    def table(self, field: TableField) -> Mapping[str, Any]:
        """Read an object, which may come as JSON text; empty where it is not given or wrong."""
        value = self._structure(field.name)
        if isinstance(value, Mapping):
            return value
        if value is not None:
            shown = "it" if isinstance(field, SecretTableField) else self._problems.shown(value)
            self._problems.add(field.name, f"{shown} is no object", "Enter a JSON object")
        return {}

    def texts(self, field: ListField) -> tuple[str, ...]:
        """Read a list of texts, which may come as JSON text or parted by commas or line breaks."""
        value = self._structure(field.name)
        if value is None:
            return ()
        items = _SEPARATORS.split(value) if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
            self._problems.add(
                field.name,
                f"{self._problems.shown(value)} is no list of texts",
                "Enter a JSON list of texts, or texts parted by commas",
            )
            return ()
        return tuple(stripped for item in items if (stripped := item.strip()))

    def _number(self, field: NumberField | OptionalNumberField) -> float | None:
        return read_number(
            field.name, self._extra.get(field.name), field.minimum, field.maximum, self._problems
        )

    def _structure(self, name: str) -> Any:
        if name in self._problems:
            return None
        value = self._extra.get(name)
        if not isinstance(value, str):
            return value
        text = value.strip()
        if not text.startswith(("[", "{")):
            return text or None
        try:
            return responses.parse_json(text)
        except ValueError:
            self._problems.add(
                name, "it looks like JSON, but cannot be read as such", "Mend its quotes, commas and brackets"
            )
            return None


def _as_float(value: object) -> float | None:
    # True is an int to Python, and would pass as 1.
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


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
            problems.add(field, "it does not belong in extra", f"Enter it as the connection's {standard}")
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
