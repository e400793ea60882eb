"""Errors that Airflow must not retry, because a person has to fix their cause.

A separate module because DAG files import it with the hook, which needs nothing of the retry policy.
"""

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


@contextmanager
def raise_as_fail_exception() -> Iterator[None]:
    """Raise errors that a retry cannot help as both their own class and ``AirflowFailException``."""
    try:
        yield
    except AirflowFailException:
        raise
    except BloqError as error:
        kind = next((_FAILURES[each] for each in type(error).__mro__ if each in _FAILURES), None)
        if kind is None:
            raise
        failure = kind.__new__(kind)
        failure.args = error.args
        failure.__dict__.update(error.__dict__)
        raise failure.with_traceback(error.__traceback__) from error.__cause__


class BloqConfigurationFailure(BloqConfigurationError, AirflowFailException):
    """A setting is wrong."""


class BloqClientKeysRejectedFailure(BloqClientKeysRejected, AirflowFailException):
    """Accounts rejects the client keys."""


class BloqAmbiguousCreateFailure(BloqAmbiguousCreate, AirflowFailException):
    """A create may have made a node unknown to this task; a retry may make a second one."""


class BloqNotStartedFailure(BloqNotStarted, AirflowFailException):
    """A node was created but did not start; a retry would create a second one."""


class BloqResultTooLargeFailure(BloqResultTooLarge, AirflowFailException):
    """A result exceeds its limit, and would do so again."""


class BloqAccountRejectedFailure(BloqAccountRejected, AirflowFailException):
    """Accounts rejects the account's user and password."""


class BloqRotationDisputedFailure(BloqRotationDisputed, AirflowFailException):
    """Only a person can tell which client keys an interrupted rotation made."""


class BloqRotationHaltedFailure(BloqRotationHalted, AirflowFailException):
    """A rotation stopped rather than delete client keys that may still be needed."""


class BloqUpdateNotDoneFailure(BloqUpdateNotDone, AirflowFailException):
    """A cluster's update ended without effect; waiting again would not bring it back."""


class BloqTransactionRevertedFailure(BloqTransactionReverted, AirflowFailException):
    """A transaction failed on execution, which is final."""


class BloqTransactionReplacedFailure(BloqTransactionReplaced, AirflowFailException):
    """Another transaction replaced this one, which is final."""


#: The failure of each class of error.
_FAILURES: dict[type, type[BloqError]] = {
    failure.__bases__[0]: failure
    for failure in (
        BloqConfigurationFailure,
        BloqClientKeysRejectedFailure,
        BloqAmbiguousCreateFailure,
        BloqNotStartedFailure,
        BloqResultTooLargeFailure,
        BloqAccountRejectedFailure,
        BloqRotationDisputedFailure,
        BloqRotationHaltedFailure,
        BloqUpdateNotDoneFailure,
        BloqTransactionRevertedFailure,
        BloqTransactionReplacedFailure,
    )
}
