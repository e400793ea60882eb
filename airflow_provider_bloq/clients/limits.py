"""Checks of arguments before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["require_choice", "require_whole_number", "untemplated"]


def require_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a value that is not one of the choices.

    :raises BloqConfigurationError: It is not.
    """
    choices = tuple(choices)
    if value not in choices:
        raise BloqConfigurationError.of(name, f"{value!r} is unknown", f"Use one of {', '.join(choices)}.")


def require_whole_number(name: str, value: object, *, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number in the range.

    :raises BloqConfigurationError: It is not.
    """
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if not fits or (most is not None and isinstance(value, int) and value > most):
        span = f"from {least} to {most}" if most is not None else f"of at least {least}"
        raise BloqConfigurationError.of(name, f"{value!r} does not fit", f"Use a whole number {span}.")


def untemplated(value: Any) -> Any:
    """Return the whole number that a template has made a text of; anything else as it is.

    :param value: What an argument holds when it was rendered.
    """
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value
