"""Connect's operations by their names, for who has only the names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from airflow_provider_bloq.clients.connect import ConnectApi
from airflow_provider_bloq.clients.operation import operation
from airflow_provider_bloq.clients.templated import number_of
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["OPERATIONS", "check_call", "with_numbers"]

#: The operations that only read, each with its parameters.
OPERATIONS: Mapping[str, inspect.Signature] = {
    name: inspect.signature(made.flow)
    for kind in reversed(ConnectApi.__mro__)
    for name, made in vars(kind).items()
    if isinstance(made, operation) and name != "send"
}

#: How a parameter is annotated that is a whole number.
_NUMBERS = ("int", "int | None")


def check_call(name: object, parameters: Mapping[str, Any], where: str) -> None:
    """Refuse what is no operation, or not its parameters.

    :param name: Name of the operation.
    :param parameters: Its parameters by name.
    :param where: The task.
    :raises BloqConfigurationError: There is no such operation, or it does not take these.
    """
    signature = OPERATIONS.get(name) if isinstance(name, str) else None
    if signature is None:
        raise BloqConfigurationError.of(
            "endpoint",
            f"{str(name)[:80]!r} is unknown",
            f"Use one of {', '.join(sorted(OPERATIONS))}.",
            where,
        )
    if not isinstance(parameters, Mapping):
        raise BloqConfigurationError.of("parameters", "they are no dict", "Give them by name.", where)
    known = {own: one for own, one in signature.parameters.items() if own != "self"}
    takes = f"{name} takes {', '.join(known) or 'none'}."
    unknown = sorted(str(given) for given in parameters if given not in known)
    missing = [
        own for own, one in known.items() if one.default is inspect.Parameter.empty and own not in parameters
    ]
    if unknown or missing:
        told = [f"{', '.join(unknown)} is unknown"] * bool(unknown) + [
            f"{', '.join(missing)} is missing"
        ] * bool(missing)
        raise BloqConfigurationError.of("parameters", "; ".join(told), takes, where)


def with_numbers(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of which the numbers are some, where a template has made texts of them.

    :param name: Name of the operation.
    :param parameters: Its parameters by name, which :func:`check_call` has passed.
    """
    known = OPERATIONS[name].parameters
    return {
        own: number_of(given) if known[own].annotation in _NUMBERS else given
        for own, given in parameters.items()
    }
