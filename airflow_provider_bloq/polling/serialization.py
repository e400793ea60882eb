"""The JSON that the worker and the triggerer exchange: conditions, and the event that ends a wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq import exceptions
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqError,
    BloqForeignEvent,
    BloqWaitTimeout,
    FieldProblem,
)
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception

if TYPE_CHECKING:
    from airflow_provider_bloq.polling.conditions import Condition

__all__ = [
    "condition_from_json",
    "condition_to_json",
    "failed_event",
    "met_event",
    "result_of",
    "timeout_event",
]

#: The module and class of each kind of condition. A wait imports only its own.
_KINDS: Mapping[str, tuple[str, str]] = {
    "block_reached": ("chains.conditions", "BlockReached"),
    "node_synced": ("chains.conditions", "NodeSynced"),
    "transaction_confirmed": ("chains.transactions", "TransactionConfirmed"),
    "connect_balance_reached": ("connect.conditions", "ConnectBalanceReached"),
    "connect_block_reached": ("connect.conditions", "ConnectBlockReached"),
    "connect_payment_seen": ("connect.conditions", "ConnectPaymentSeen"),
    "connect_transaction_confirmed": ("connect.conditions", "ConnectTransactionConfirmed"),
    "cluster_health": ("nodes.conditions", "ClusterHealth"),
    "cluster_state": ("nodes.conditions", "ClusterState"),
    "cluster_updated": ("nodes.conditions", "ClusterUpdated"),
    "node_state": ("nodes.conditions", "NodeState"),
}
#: Fields of errors that are not plain JSON, and how they are read from it.
_READ_FIELD: Mapping[str, Callable[[Any], Any]] = {
    "problems": lambda problems: tuple(FieldProblem(**problem) for problem in problems),
    "candidates": tuple,
}


def condition_to_json(condition: Condition) -> dict[str, Any]:
    """Return a condition as JSON."""
    return {"kind": condition.kind, **asdict(condition)}  # type: ignore[call-overload]


def condition_from_json(fields: dict[str, Any]) -> Condition:
    """Read a condition that :func:`condition_to_json` wrote.

    :raises BloqConfigurationError: Another version of the provider wrote it, and this one does not know it.
    """
    values = dict(fields)
    kind = values.pop("kind", None)
    # A TypeError means that the fields are those of another version.
    with suppress(TypeError):
        if kind in _KINDS:
            module, name = _KINDS[kind]
            if isinstance(values.get("subject"), dict):
                from airflow_provider_bloq.chains.conditions import RpcSubject

                values["subject"] = RpcSubject(**values["subject"])
            condition: Condition = getattr(import_module(f"airflow_provider_bloq.{module}"), name)(**values)
            return condition
    raise BloqConfigurationError.of(
        "condition",
        f"{fields!r} is not known to this version of the provider",
        "Install the same version on the triggerer and the workers, then clear the task.",
    )


def met_event(result: Any) -> dict[str, Any]:
    """Return the event of a condition that holds.

    :param result: Its result; JSON.
    """
    return {"status": "met", "result": result}


def failed_event(error: BloqError) -> dict[str, Any]:
    """Return the event of a wait that failed."""
    return {"status": "failed", "error": error_to_json(error)}


def timeout_event(reason: str) -> dict[str, Any]:
    """Return the event of a wait that timed out.

    :param reason: What was still missing.
    """
    return {"status": "timeout", "reason": reason}


def result_of(event: Any) -> Any:
    """Return the result of a wait from the event passed to ``execute_complete``.

    :raises BloqError: The error that ended the wait, with its class and fields; also an
        ``AirflowFailException`` if a retry cannot help.
    :raises BloqWaitTimeout: The wait timed out.
    :raises BloqForeignEvent: This version of the provider does not know the event.
    """
    match event:
        case {"status": "met", "result": result}:
            return result
        case {"status": "failed", "error": {"type": str(), "args": list(), "fields": dict()} as fields}:
            with raise_as_fail_exception():
                raise error_from_json(fields)
        case {"status": "timeout", "reason": str(reason)}:
            raise BloqWaitTimeout(reason)
    # Its values are not shown, since they might be secret.
    shape = f"fields {sorted(map(str, event))}" if isinstance(event, Mapping) else type(event).__name__
    raise BloqForeignEvent(
        f"The triggerer sent an event that this version of the provider does not know ({shape}). Install the same "
        "version on the triggerer and the workers."
    )


def error_to_json(error: BloqError) -> dict[str, Any]:
    """Return an error as JSON, under the name of its class in :mod:`airflow_provider_bloq.exceptions`."""
    public = (kind for kind in type(error).__mro__ if kind.__module__ == exceptions.__name__)
    return {
        "type": next(public, BloqError).__name__,
        "args": [str(argument) for argument in error.args],
        "fields": {name: _plain(value) for name, value in vars(error).items() if not name.startswith("__")},
    }


def error_from_json(fields: Mapping[str, Any]) -> BloqError:
    """Read an error that :func:`error_to_json` wrote. An unknown class becomes ``BloqError``."""
    kind = getattr(exceptions, fields["type"], None)
    if not (isinstance(kind, type) and issubclass(kind, BloqError)):
        return BloqError(f"{fields['type']}: {' '.join(fields['args'])}")
    error = kind.__new__(kind)
    error.args = tuple(fields["args"])
    for name, value in fields["fields"].items():
        setattr(error, name, _READ_FIELD[name](value) if name in _READ_FIELD else value)
    return error


def _plain(value: Any) -> Any:
    if isinstance(value, FieldProblem):
        return value._asdict()
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
