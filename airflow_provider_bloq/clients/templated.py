"""Arguments that a template has made a text of."""

from __future__ import annotations

from typing import Any

__all__ = ["number_of"]


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
