"""Arguments that a template has made a text of, and durations however they are given."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["number_of", "seconds_of"]

#: The longest duration in seconds, about 30 years: what is added to the time of day must stay a date.
LONGEST = 1e9


def number_of(value: Any) -> Any:
    """Return a number that a template has made a text of: decimal, or hex as Ethereum's nodes give it.

    Anything else is returned as it is, for the condition to judge.
    """
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    try:
        return int(text, 16) if text.startswith("0x") else int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return value


def seconds_of(name: str, value: Any, where: str | None = None) -> float:
    """Return a duration in seconds.

    :param name: The name of the argument.
    :param value: A timedelta, or seconds; these also as the text that a template has made of them.
    :param where: What the argument belongs to, such as ``task 'create'``.
    :raises BloqConfigurationError: It is no duration, is negative, or is longer than about 30 years.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else number_of(value)
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds <= LONGEST:
        problem = f"{value!r} is {'negative' if is_number and seconds < 0 else 'no duration'}"
        remedy = "Give a timedelta, or seconds, of at least zero."
        raise BloqConfigurationError.of(name, problem, remedy, where)
    return float(seconds)
