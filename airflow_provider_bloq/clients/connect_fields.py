"""How Connect's JSON is read: tolerantly, and its amounts exactly."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from airflow_provider_bloq.exceptions import BloqUnavailable

__all__ = [
    "items_in",
    "list_of",
    "needed_number",
    "needed_text",
    "object_of",
    "satoshi_of",
    "text_of",
    "whole_number_of",
]

_SATOSHI = 100_000_000


def object_of(item: Any, what: str) -> dict[str, Any]:
    """Return an object of an answer.

    :param what: What it should be, for the error.
    :raises BloqUnavailable: It is none.
    """
    if not isinstance(item, dict):
        raise BloqUnavailable(f"Connect gave something that is not {what}.")
    return item


def satoshi_of(coins: Any) -> int:
    """Return an amount in satoshi, exactly, of one that is written in whole coins as a number or a text.

    :raises BloqUnavailable: It is none, or is finer than a satoshi.
    """
    if isinstance(coins, int | Decimal | str) and not isinstance(coins, bool):
        try:
            satoshi = Decimal(coins) * _SATOSHI
            if satoshi == satoshi.to_integral_value():
                return int(satoshi)
        except (ArithmeticError, ValueError):
            pass
    raise BloqUnavailable("Connect gave something that is no amount.")


def text_of(fields: dict[str, Any], name: str) -> str | None:
    """Return a text; None where there is none."""
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def whole_number_of(fields: dict[str, Any], *names: str) -> int | None:
    """Return a whole number by the first of these names that has one; None where none has."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, Decimal) and value == value.to_integral_value():
            return int(value)
    return None


def needed_text(fields: Any, name: str) -> str:
    """Return a text that must be there.

    :raises BloqUnavailable: It is not.
    """
    value = text_of(object_of(fields, "an object"), name)
    if value is None:
        raise BloqUnavailable(f"Connect gave something without {name}.")
    return value


def needed_number(fields: dict[str, Any], name: str) -> int:
    """Return a whole number that must be there.

    :raises BloqUnavailable: It is not.
    """
    value = whole_number_of(fields, name)
    if value is None:
        raise BloqUnavailable(f"Connect gave something without {name}.")
    return value


def items_in(fields: dict[str, Any], name: str) -> list[Any]:
    """Return a list; an empty one where there is none."""
    value = fields.get(name)
    return value if isinstance(value, list) else []


def list_of(answer: Any) -> list[Any]:
    """Return an answer that must be a list.

    :raises BloqUnavailable: It is none.
    """
    if not isinstance(answer, list):
        raise BloqUnavailable("Connect gave something that is no list.")
    return answer
