"""Conditions as JSON and back, for the kwargs of triggers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from airflow_provider_bloq import exceptions
from airflow_provider_bloq.chains.conditions import (
    BlockReached,
    NodeSynced,
    RpcSubject,
    TransactionConfirmed,
)
from airflow_provider_bloq.connect.conditions import (
    ConnectBalanceReached,
    ConnectBlockReached,
    ConnectPaymentSeen,
    ConnectTransactionConfirmed,
)
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqError,
    BloqForeignEvent,
    BloqWaitTimeout,
    FieldProblem,
)
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.nodes.conditions import ClusterHealth, ClusterState, ClusterUpdated, NodeState
from airflow_provider_bloq.polling.conditions import Condition

__all__ = [
    "condition_from_json",
    "condition_to_json",
    "error_from_json",
    "error_to_json",
    "failed_event",
    "met_event",
    "result_of",
    "timeout_event",
]


_KINDS: dict[str, type[Condition]] = {
    kind.kind: kind
    for kind in (
        BlockReached,
        ClusterHealth,
        ClusterState,
        ClusterUpdated,
        ConnectBalanceReached,
        ConnectBlockReached,
        ConnectPaymentSeen,
        ConnectTransactionConfirmed,
        NodeState,
        NodeSynced,
        TransactionConfirmed,
    )
}


def condition_to_json(condition: Condition) -> dict[str, Any]:
    """Write a condition as a dict of JSON values."""
    return {"kind": condition.kind, **asdict(condition)}  # type: ignore[call-overload]


def condition_from_json(fields: dict[str, Any]) -> Condition:
    """Read a condition that :func:`condition_to_json` wrote.

    :raises BloqConfigurationError: This version of the provider knows no such condition.
    """
    values = dict(fields)
    kind = _KINDS.get(str(values.pop("kind", None)))
    # A TypeError: the fields are those of another version.
    with suppress(TypeError):
        if isinstance(values.get("subject"), dict):
            values["subject"] = RpcSubject(**values["subject"])
        if kind is not None:
            return kind(**values)
    raise BloqConfigurationError.of(
        "condition",
        f"{fields!r} is none that this version of the provider knows",
        "Let the triggerer and the workers have the same version; clear the task.",
    )


#: Fields that are more than JSON: how they come back from it.
_REVIVED: Mapping[str, Callable[[Any], Any]] = {
    "problems": lambda problems: tuple(FieldProblem(**problem) for problem in problems),
    "candidates": tuple,
}


def met_event(result: Any) -> dict[str, Any]:
    """Make the event that says: what was waited for has come.

    :param result: What is to be said of it; JSON.
    """
    return {"status": "met", "result": result}


def failed_event(error: BloqError) -> dict[str, Any]:
    """Make the event that says: it will not come any more, or cannot be seen."""
    return {"status": "failed", "error": error_to_json(error)}


def timeout_event(reason: str) -> dict[str, Any]:
    """Make the event of a wait that timed out.

    :param reason: What was missing in the end.
    """
    return {"status": "timeout", "reason": reason}


def result_of(event: Any) -> Any:
    """Return the result of the wait that an event tells of, or raise what became of it.

    :param event: What ``execute_complete`` was given.
    :return: The result of the condition.
    :raises BloqError: The error that ended the wait, in its own class and with its fields; also as an
        ``AirflowFailException`` where no retry can help.
    :raises BloqWaitTimeout: The deadline has passed.
    :raises BloqForeignEvent: It is no event that this version of the provider makes.
    """
    match event:
        case {"status": "met", "result": result}:
            return result
        case {"status": "failed", "error": {"type": str(), "args": list(), "fields": dict()} as fields}:
            with raise_as_fail_exception():
                raise error_from_json(fields)
        case {"status": "timeout", "reason": str(reason)}:
            raise BloqWaitTimeout(reason)
    raise BloqForeignEvent(
        f"The triggerer sent an event that this version of the provider does not know ({_shape(event)}). Let the "
        "triggerer and the workers have the same version."
    )


def error_to_json(error: BloqError) -> dict[str, Any]:
    """Write an error as JSON. One that is also Airflow's is written as the one it is at Bloq."""
    return {
        "type": _public_class(type(error)).__name__,
        "args": [str(argument) for argument in error.args],
        "fields": {name: _plain(value) for name, value in vars(error).items() if not name.startswith("__")},
    }


def error_from_json(fields: Mapping[str, Any]) -> BloqError:
    """Read an error that :func:`error_to_json` wrote. A class that this version lacks becomes ``BloqError``."""
    kind = getattr(exceptions, fields["type"], None)
    if not (isinstance(kind, type) and issubclass(kind, BloqError)):
        return BloqError(f"{fields['type']}: {' '.join(fields['args'])}")
    error = kind.__new__(kind)
    error.args = tuple(fields["args"])
    for name, value in fields["fields"].items():
        setattr(error, name, _REVIVED.get(name, _as_it_is)(value))
    return error


def _public_class(kind: type[BloqError]) -> type[BloqError]:
    for ancestor in kind.__mro__:
        if issubclass(ancestor, BloqError) and ancestor.__module__ == exceptions.__name__:
            return ancestor
    return BloqError


def _plain(value: Any) -> Any:
    if isinstance(value, FieldProblem):
        return value._asdict()
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _as_it_is(value: Any) -> Any:
    return value


def _shape(event: Any) -> str:
    return f"fields {sorted(map(str, event))}" if isinstance(event, Mapping) else type(event).__name__
