"""Collects what is wrong with a connection, so that all of it is told at once."""

from __future__ import annotations

from airflow_provider_bloq.auth.secret import REDACTED
from airflow_provider_bloq.exceptions import BloqConfigurationError, FieldProblem

__all__ = ["Problems"]

_SHOWN_LENGTH = 80


class Problems:
    """The wrong fields found so far.

    :param where: What the fields belong to, such as ``connection 'bloq_default'``.
    :param hidden: The client secret, if there is one: a value that repeats it is not shown.
    """

    def __init__(self, where: str, hidden: str = "") -> None:
        self._where = where
        self._hidden = hidden
        self._found: list[FieldProblem] = []

    def add(self, field: str, problem: str, remedy: str) -> None:
        """Note one; a field that was found wrong before keeps its first problem, the others follow from it."""
        if field not in self:
            self._found.append(FieldProblem(field, problem, remedy))

    def __contains__(self, field: str) -> bool:
        return any(problem.field == field for problem in self._found)

    def shown(self, value: object) -> str:
        """Make a value of a field that is not secret readable: quoted, cut to 80 characters."""
        text = repr(value)
        if self._hidden and self._hidden in text:
            return repr(REDACTED)
        return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 1]}…"

    def raise_if_any(self) -> None:
        """Raise one error for all that was found.

        :raises BloqConfigurationError: Something was.
        """
        if self._found:
            raise BloqConfigurationError(self._found, self._where)
