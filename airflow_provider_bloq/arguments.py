"""Checks of arguments before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = [
    "CONNECT",
    "connect_chain_of",
    "node_id_of",
    "number_of",
    "require_choice",
    "require_seconds",
    "require_whole_number",
    "seconds_of",
    "untemplated",
]


def require_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise BloqConfigurationError unless the value is one of the choices."""
    choices = tuple(choices)
    if value not in choices:
        raise BloqConfigurationError.of(name, f"{value!r} is unknown", f"Use one of {', '.join(choices)}.")


def require_whole_number(name: str, value: object, *, least: int, most: int | None = None) -> None:
    """Raise BloqConfigurationError unless the value is a whole number in the range."""
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if not fits or (most is not None and isinstance(value, int) and value > most):
        span = f"from {least} to {most}" if most is not None else f"of at least {least}"
        raise BloqConfigurationError.of(name, f"{value!r} does not fit", f"Use a whole number {span}.")


def require_seconds(name: str, value: object) -> None:
    """Check that a value is a number of seconds, 0 or more.

    :raises BloqConfigurationError: It is not.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
        raise BloqConfigurationError.of(
            name, f"{value!r} does not fit", "Use a number of seconds, 0 or more."
        )


def untemplated(value: Any) -> Any:
    """Return the whole number in a text that a template rendered; anything else unchanged."""
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


#: The longest duration in seconds, about 30 years: now plus a duration must remain a valid date.
LONGEST = 1e9


def number_of(value: Any) -> Any:
    """Return the number in a text that a template rendered, decimal or hex as Ethereum's nodes write it.

    Anything else is returned unchanged.
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
    :param value: A timedelta, or seconds as a number or as text from a template.
    :param where: What the argument belongs to, such as ``task 'create'``.
    :raises BloqConfigurationError: It is not a duration, is negative, or is longer than about 30 years.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else number_of(value)
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds <= LONGEST:
        problem = f"{value!r} is {'negative' if is_number and seconds < 0 else 'no duration'}"
        remedy = "Give a timedelta, or seconds, of at least zero."
        raise BloqConfigurationError.of(name, problem, remedy, where)
    return float(seconds)


#: Prefix of a chain of Connect in place of a node's id: ``connect:eth``.
CONNECT = "connect:"


def node_id_of(node: Mapping[str, Any] | str, field: str = "node") -> str:
    """Return the id of a node or cluster, given by its id or by the output of an operator.

    :param field: Its name in errors.
    :raises BloqConfigurationError: It is neither.
    """
    node_id = node.get("id") if isinstance(node, Mapping) else node
    if not isinstance(node_id, str) or not node_id.strip():
        raise BloqConfigurationError.of(
            field, "it has no id", f"Give the id of the {field}, or what the create operator returned."
        )
    if node_id.lstrip().startswith("{"):
        # Jinja renders a dict as text unless the DAG renders templates as native objects.
        raise BloqConfigurationError.of(
            field,
            "it is the text of a dict",
            "Pass the output of the task itself (create.output), or its id: \"{{ ti.xcom_pull('create')['id'] }}\".",
        )
    return node_id.strip()


def connect_chain_of(node: object, **beside: object) -> str | None:
    """Return the chain of a node argument such as ``connect:eth``; None if it is a node, a cluster or a URL.

    :param node: The node argument of an operator.
    :param beside: Arguments that only apply to a node, such as its port.
    :raises BloqConfigurationError: It is a chain of Connect, and one of those arguments is set.
    """
    if not isinstance(node, str) or not node.strip().startswith(CONNECT):
        return None
    if given := [name for name, value in beside.items() if value]:
        raise BloqConfigurationError.of(
            given[0],
            f"Connect has none that could be chosen, and node is {node.strip()[:80]!r}",
            "Leave it out.",
        )
    return node.strip().removeprefix(CONNECT).strip().lower()
