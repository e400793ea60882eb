"""Errors that Airflow must not retry, since only a person can mend their cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_bloq.exceptions import (
    BloqAccountRejected,
    BloqAmbiguousCreate,
    BloqClientKeysRejected,
    BloqConfigurationError,
    BloqError,
    BloqNotStarted,
    BloqResultTooLarge,
    BloqRotationDisputed,
    BloqRotationHalted,
    BloqTransactionReplaced,
    BloqTransactionReverted,
    BloqUpdateNotDone,
)

__all__ = [
    "BloqAccountRejectedFailure",
    "BloqAmbiguousCreateFailure",
    "BloqClientKeysRejectedFailure",
    "BloqConfigurationFailure",
    "BloqNotStartedFailure",
    "BloqResultTooLargeFailure",
    "BloqRotationDisputedFailure",
    "BloqRotationHaltedFailure",
    "BloqTransactionReplacedFailure",
    "BloqTransactionRevertedFailure",
    "BloqUpdateNotDoneFailure",
    "raise_as_fail_exception",
]


class BloqConfigurationFailure(BloqConfigurationError, AirflowFailException):
    """A setting is wrong."""


class BloqClientKeysRejectedFailure(BloqClientKeysRejected, AirflowFailException):
    """Accounts refuses the client keys."""


class BloqAmbiguousCreateFailure(BloqAmbiguousCreate, AirflowFailException):
    """A create may have made a node that this task does not know of; a retry may make a second one."""


class BloqNotStartedFailure(BloqNotStarted, AirflowFailException):
    """A node was created but did not start; a retry would create a second one."""


class BloqResultTooLargeFailure(BloqResultTooLarge, AirflowFailException):
    """A result is larger than its limit, and would be so again."""


class BloqAccountRejectedFailure(BloqAccountRejected, AirflowFailException):
    """Accounts refuses the account's user and password."""


class BloqRotationDisputedFailure(BloqRotationDisputed, AirflowFailException):
    """Only a person can tell which client keys an interrupted rotation made."""


class BloqRotationHaltedFailure(BloqRotationHalted, AirflowFailException):
    """A rotation stopped before it would delete client keys that may still be needed."""


class BloqUpdateNotDoneFailure(BloqUpdateNotDone, AirflowFailException):
    """A cluster's update ended without an effect; waiting again would not bring it back."""


class BloqTransactionRevertedFailure(BloqTransactionReverted, AirflowFailException):
    """A transaction failed when it was executed, which is final."""


class BloqTransactionReplacedFailure(BloqTransactionReplaced, AirflowFailException):
    """Another transaction took the place of this one, which is final."""


_FAILURES: tuple[tuple[type[BloqError], type[BloqError]], ...] = (
    (BloqConfigurationError, BloqConfigurationFailure),
    (BloqClientKeysRejected, BloqClientKeysRejectedFailure),
    (BloqAmbiguousCreate, BloqAmbiguousCreateFailure),
    (BloqNotStarted, BloqNotStartedFailure),
    (BloqResultTooLarge, BloqResultTooLargeFailure),
    (BloqAccountRejected, BloqAccountRejectedFailure),
    (BloqRotationDisputed, BloqRotationDisputedFailure),
    (BloqRotationHalted, BloqRotationHaltedFailure),
    (BloqUpdateNotDone, BloqUpdateNotDoneFailure),
    (BloqTransactionReverted, BloqTransactionRevertedFailure),
    (BloqTransactionReplaced, BloqTransactionReplacedFailure),
)


@contextmanager
def raise_as_fail_exception() -> Iterator[None]:
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
