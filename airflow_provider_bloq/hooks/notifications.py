"""The error of a failed task as plain JSON with the same keys for every kind of error, for notifications."""

from __future__ import annotations

from typing import Any, cast

from airflow_provider_bloq.exceptions import BloqError

__all__ = [
    "summary_of",
]


def summary_of(error: object) -> dict[str, Any]:
    """Return the error that a task failed with, as plain JSON.

    Airflow masks secrets in logs only, so they are masked here as well, even in the messages of other errors.

    In a template, with ``DAG(user_defined_macros={"summary_of": summary_of})``::

        {{ summary_of(exception).error }}: {{ summary_of(exception).message }}

    :param error: ``context.get("exception")``. Missing if the worker was lost, and in callbacks of a whole DAG.
    :return: ``error``, the name of its class; ``message``; ``retryable``, None for errors from elsewhere; and
        ``fields``, a dict: see :meth:`~airflow_provider_bloq.exceptions.BloqError.summary`.
    """
    from airflow.providers.common.compat.sdk import redact

    if isinstance(error, BloqError):
        summary = error.summary()
    else:
        # An undefined name in a template is neither an error nor a string.
        summary = {
            "error": type(error).__name__ if isinstance(error, BaseException) else None,
            "message": str(error) if isinstance(error, BaseException | str) else "",
            "retryable": None,
            "fields": {},
        }
    return cast("dict[str, Any]", redact(summary))
