"""Reads which part of a list a request wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.testing.local.inbound import digits
from airflow_provider_bloq.testing.local.problems import ApiProblem

__all__ = ["PAGE", "Range", "is_set", "page_number", "read_range", "whole_number"]

#: Transactions on a page of ``/txs``, and in an answer of ``/addrs/txs`` that asks for no range.
PAGE = 10
#: The largest range that ``/addrs/txs`` answers.
_LARGEST = 50


@dataclass(frozen=True, slots=True)
class Range:
    """From one place, which belongs to it, to another, which does not; None is the end of the list."""

    first: int
    end: int | None


def read_range(asked: Mapping[str, Any], *, bounded: bool) -> Range:
    """Read ``from`` and ``to``.

    :param asked: The query or the body.
    :param bounded: Whether there is a largest range, and a smaller one where no end is asked for.
    :raises ApiProblem: They are no whole numbers, in the wrong order or too far apart (400).
    """
    first = whole_number(asked, "from", 0)
    end = whole_number(asked, "to", first + PAGE) if bounded or asked.get("to") is not None else None
    if end is not None and end < first:
        raise ApiProblem(400, "InvalidParameter", f'"from" ({first}) must not be greater than "to" ({end})')
    if bounded and end is not None and end - first > _LARGEST:
        raise ApiProblem(
            400,
            "InvalidParameter",
            f'"from" ({first}) and "to" ({end}) range should be less than or equal to {_LARGEST}',
        )
    return Range(first, end)


def page_number(asked: Mapping[str, Any]) -> int:
    """Read ``pageNum``, which counts from 0.

    :raises ApiProblem: It is no whole number (400).
    """
    return whole_number(asked, "pageNum", 0)


def whole_number(asked: Mapping[str, Any], name: str, default: int) -> int:
    """Read a whole number that is not negative.

    :raises ApiProblem: It is something else (400).
    """
    value = asked.get(name)
    if value is None:
        return default
    number = None if isinstance(value, bool) else digits(str(value))
    if number is None:
        raise ApiProblem(400, "InvalidParameter", f"{name} must be a whole number")
    return number


def is_set(asked: Mapping[str, Any], name: str) -> bool:
    """Read a switch, which clients write as ``1`` or ``true``."""
    return asked.get(name) in (True, 1, "1", "true")
