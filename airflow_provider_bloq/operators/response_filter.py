"""What is taken of the result of a call: by a JMESPath expression, or by a function that is named.

Both are given as text, since a task's arguments are stored and shown. ``package.module:function``, with its
colon, is how Python's own entry points name a function; no JMESPath expression looks like it, so the two
cannot be taken for each other. Text without such a colon is JMESPath, ``block.number`` for instance.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from typing import Any, TypeAlias

from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["Filter", "check_filter", "load_filter"]

Filter: TypeAlias = Callable[[Any], Any]

_NAMES = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_FUNCTION = re.compile(rf"({_NAMES}):({_NAMES})", re.ASCII)
_REMEDY = "Give a JMESPath expression, or a function as 'package.module:function'."


def check_filter(given: object, where: str) -> None:
    """Refuse what is no filter. Imports nothing of the author's.

    :param given: A JMESPath expression, ``package.module:function``, or None.
    :param where: The task it belongs to.
    :raises BloqConfigurationError: It is none of these, such as a function itself.
    """
    if given is None:
        return
    if not isinstance(given, str) or not given.strip():
        kind = "empty" if given == "" else f"of type {type(given).__name__}"
        raise BloqConfigurationError.of("response_filter", f"it is {kind}", _REMEDY, where)
    if not _FUNCTION.fullmatch(given):
        _expression(given, where)


def load_filter(given: str | None, where: str) -> Filter:
    """Make the filter ready.

    :param given: What :func:`check_filter` has let pass.
    :param where: The task it belongs to.
    :raises BloqConfigurationError: There is no such function.
    """
    if given is None:
        return _whole
    named = _FUNCTION.fullmatch(given)
    if named is None:
        return _expression(given, where)
    module, function = named.groups()
    try:
        found = attrgetter(function)(import_module(module))
    except (ImportError, AttributeError) as missing:
        raise BloqConfigurationError.of(
            "response_filter", f"{given!r} cannot be imported ({missing})", _REMEDY, where
        ) from missing
    if not callable(found):
        raise BloqConfigurationError.of("response_filter", f"{given!r} is no function", _REMEDY, where)
    filter_: Filter = found
    return filter_


def _whole(result: Any) -> Any:
    return result


def _expression(text: str, where: str) -> Filter:
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        expression = jmespath.compile(text)
    except JMESPathError as wrong:
        raise BloqConfigurationError.of(
            "response_filter", f"{text!r} is no JMESPath expression ({_first_line(wrong)})", _REMEDY, where
        ) from None

    def searched(result: Any) -> Any:
        try:
            return expression.search(result)
        except JMESPathError as misfit:
            raise BloqConfigurationError.of(
                "response_filter",
                f"{text!r} does not fit the result ({_first_line(misfit)})",
                "Correct it, or give a function that tells the kinds of results apart.",
                where,
            ) from None

    return searched


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
