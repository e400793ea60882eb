"""Errors that Airflow must not retry, since only a person can mend their cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_bloq.exceptions import (
    BloqAmbiguousCreate,
    BloqClientKeysRejected,
    BloqConfigurationError,
    BloqError,
    BloqNotStarted,
)

__all__ = [
    "BloqAmbiguousCreateFailure",
    "BloqClientKeysRejectedFailure",
    "BloqConfigurationFailure",
    "BloqNotStartedFailure",
    "failing_at_once",
]


class BloqConfigurationFailure(BloqConfigurationError, AirflowFailException):
    """A setting is wrong."""


class BloqClientKeysRejectedFailure(BloqClientKeysRejected, AirflowFailException):
    """Accounts refuses the client keys."""


class BloqAmbiguousCreateFailure(BloqAmbiguousCreate, AirflowFailException):
    """A create may have made a node that this task does not know of; a retry may make a second one."""


class BloqNotStartedFailure(BloqNotStarted, AirflowFailException):
    """A node was created but did not start; a retry would create a second one."""


_FAILURES: tuple[tuple[type[BloqError], type[BloqError]], ...] = (
    (BloqConfigurationError, BloqConfigurationFailure),
    (BloqClientKeysRejected, BloqClientKeysRejectedFailure),
    (BloqAmbiguousCreate, BloqAmbiguousCreateFailure),
    (BloqNotStarted, BloqNotStartedFailure),
)


@contextmanager
def failing_at_once() -> Iterator[None]:
    """Raise what no retry can help as an error of both its own class and ``AirflowFailException``."""
    try:
        yield
    except AirflowFailException:
        raise
    except BloqError as error:
        for kind, failure_kind in _FAILURES:
            if isinstance(error, kind):
                failure = failure_kind.__new__(failure_kind)
                failure.args = error.args
                failure.__dict__.update(error.__dict__)
                raise failure.with_traceback(error.__traceback__) from error.__cause__
        raise
