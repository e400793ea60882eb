"""JSON from elsewhere, decoded without the risk that its nesting ends the process."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

__all__ = ["loads"]

#: Levels that the decoder's C stack surely holds. No answer of Bloq or of a node comes near.
DEEPEST = 2000
#: How many levels of closed brackets are taken away before the rest is judged.
_PASSES = 100
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def loads(text: str | bytes, *, exact: bool = False) -> Any:
    """Decode JSON, as :func:`json.loads` does.

    That one relies on the recursion limit, which libraries raise (py_ecc, which web3.py brings, to
    100,000): the decoder, written in C, then runs out of stack, and the process dies.

    :param text: The JSON.
    :param exact: Whether numbers with a fraction are read as :class:`~decimal.Decimal`, which loses nothing.
    :raises ValueError: It is no JSON, or is nested deeper than any that is meant well.
    """
    if _may_be_too_deep(text.encode(errors="replace") if isinstance(text, str) else text):
        raise ValueError("it is nested too deep")
    try:
        return json.loads(text, parse_float=Decimal if exact else None)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _may_be_too_deep(text: bytes) -> bool:
    if text.count(b"[") + text.count(b"{") <= DEEPEST:
        return False
    # Brackets may also stand in strings; to leave those out costs more, and is seldom needed.
    return _levels_left(text) > DEEPEST and _levels_left(_STRING.sub(b"", text)) > DEEPEST


def _levels_left(text: bytes) -> int:
    """Count the brackets that remain when the innermost pairs are taken away again and again.

    For each pass this is a search at the speed of C, where to follow the brackets one by one is not.
    """
    brackets = text.translate(None, _ALL_BUT_BRACKETS)
    for _ in range(_PASSES):
        before = len(brackets)
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(brackets) in (0, before):
            break
    return len(brackets)
