"""What a notification says of an error: the same few names for every kind of error, for code and templates."""

from __future__ import annotations

from typing import Any, cast

from airflow_provider_bloq.exceptions import BloqError

__all__ = [
    "summary_of",
]


def summary_of(error: object) -> dict[str, Any]:
    """Return what is known of the error that a task failed with, as plain JSON.

    Airflow masks secrets in logs, not in what is sent elsewhere. Here they are masked as in the logs, also in
    the texts of errors that are not this provider's.

    In a template, after ``DAG(user_defined_macros={"summary_of": summary_of})``::

        {{ summary_of(exception).error }}: {{ summary_of(exception).message }}

    :param error: ``context.get("exception")``. Airflow gives none where the worker was lost, and to the
        callbacks of a whole DAG.
    :return: ``error``, the name of its class; ``message``; ``retryable``, None where it is not an error of this
        provider; and ``fields``, a dict: see :meth:`~airflow_provider_bloq.exceptions.BloqError.summary`.
    """
    from airflow.providers.common.compat.sdk import redact

    if isinstance(error, BloqError):
        told = error.summary()
    else:
        # An undefined name of a template is neither an error nor a text.
        told = {
            "error": type(error).__name__ if isinstance(error, BaseException) else None,
            "message": str(error) if isinstance(error, BaseException | str) else "",
            "retryable": None,
            "fields": {},
        }
    return cast("dict[str, Any]", redact(told))
