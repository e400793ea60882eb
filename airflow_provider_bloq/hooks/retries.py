"""Which errors Airflow retries: the retry policy, warnings about what Airflow lacks, and errors that fail at once.

``BloqRetryPolicy`` needs Airflow 3.3. On older versions a task warns once, and its own ``retries`` decide.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from enum import Enum
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

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
from airflow_provider_bloq.flow.backoff import BackoffSettings, advice_on

__all__ = [
    "CORE_HAS_POLICIES",
    "DEFAULT_POLICY",
    "BloqAccountRejectedFailure",
    "BloqAmbiguousCreateFailure",
    "BloqClientKeysRejectedFailure",
    "BloqConfigurationFailure",
    "BloqNotStartedFailure",
    "BloqResultTooLargeFailure",
    "BloqRetryPolicy",
    "BloqRotationDisputedFailure",
    "BloqRotationHaltedFailure",
    "BloqTransactionReplacedFailure",
    "BloqTransactionRevertedFailure",
    "BloqUpdateNotDoneFailure",
    "MissingFeature",
    "policy_argument",
    "raise_as_fail_exception",
    "warn_once",
    "warn_without_retry_policies",
]


log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from airflow.sdk import Context, RetryDecision, RetryPolicy

    CORE_HAS_POLICIES = True
else:
    try:
        from airflow.sdk import RetryDecision, RetryPolicy
    except ImportError:
        RetryPolicy = object
        CORE_HAS_POLICIES = False
    else:
        CORE_HAS_POLICIES = True


# A dataclass by its base; another decorator would only cost time while DAGs are parsed.
class BloqRetryPolicy(BackoffSettings, RetryPolicy):
    """Decides about retries by the error. For any task that may raise errors of this provider::

        @task(retries=5, retry_policy=BloqRetryPolicy())
        def balances(): ...

    - rate limited: wait as long as the service asks, or back off if it does not say;
    - service, node, network or Vault unavailable: back off;
    - client keys rejected, quota exceeded, wrong settings, not found, wrong certificate and any other error that
      would occur again: fail at once;
    - errors from elsewhere, and most errors that a node returns for a call: as the task's ``retries`` and
      ``retry_delay`` say.

    It never adds tries to the task's ``retries``, and never sees ``AirflowFailException``, which fails the task anyway.

    Operators and sensors of this provider use it by default; ``retry_policy=None`` turns it off.

    :param first: Upper bound in seconds of the pause after the first try; doubles with each try. One half is fixed,
        the other is jitter.
    :param cap: Upper bound in seconds of a pause that the service did not ask for.
    :param max_retry_after: Upper bound in seconds of a pause that the service asked for.
    :raises BloqConfigurationError: A bound is not a positive number of seconds.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Context | None = None,
    ) -> RetryDecision:
        """Decide by the error; called by Airflow on the worker."""
        advice = advice_on(exception, try_number, random.random(), self)  # noqa: S311 - spreads load only
        if advice is None:
            return RetryDecision.default()
        if advice.pause is None:
            return RetryDecision.fail(advice.reason)
        return RetryDecision.retry(timedelta(seconds=advice.pause), advice.reason)

    def serialize(self) -> dict[str, Any]:
        """Return the policy as JSON."""
        return asdict(self)

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """Return the policy that :meth:`serialize` wrote."""
        return cls(**data)


#: The default policy of this provider's tasks. A constructor must name it as the default of its parameter
#: ``retry_policy`` and not assign it later: otherwise mapped tasks would lack it, and ``default_args`` could not
#: override it.
DEFAULT_POLICY: RetryPolicy | None = BloqRetryPolicy() if CORE_HAS_POLICIES else None


def policy_argument(policy: RetryPolicy | None) -> dict[str, Any]:
    """Return the policy as an argument for Airflow's operators; empty if this Airflow has no retry policies."""
    return {"retry_policy": policy} if CORE_HAS_POLICIES else {}


def warn_without_retry_policies(retries: int | None) -> None:
    """Warn if a task may be retried but this Airflow has no retry policies.

    :param retries: The task's ``retries``.
    """
    if retries and not CORE_HAS_POLICIES:
        warn_once(MissingFeature.RETRY_POLICIES)


class MissingFeature(Enum):
    """A feature of Airflow 3.3, with the warning to log if this Airflow lacks it."""

    RETRY_POLICIES = "has no retry policies: only the task's retries and retry_delay decide about retries"
    CREATE_JOURNAL = (
        "has no task state store: a retry of a create does not know what the try before it did, "
        "so the task fails without a retry once something was created"
    )
    POKE_STATE = "has no task state store: in reschedule mode each poke starts from scratch"
    TRIGGER_ON_KILL = (
        "does not notify triggers of a kill: cancel_on_kill does nothing while the task is deferred"
    )


_warned: set[MissingFeature] = set()
_lock = Lock()


def warn_once(feature: MissingFeature) -> None:
    """Log the warning unless this process has already done so."""
    with _lock:
        if feature in _warned:
            return
        _warned.add(feature)
    log.warning("This Airflow %s (needs Airflow 3.3).", feature.value)


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
