"""The retry policy: which errors Airflow retries and when, and warnings about what an older Airflow lacks.

``BloqRetryPolicy`` needs Airflow 3.3. On older versions a task warns once, and its own ``retries`` decide.
"""

from __future__ import annotations

import logging
import random
from dataclasses import asdict
from datetime import timedelta
from enum import Enum
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_bloq.flow.backoff import BackoffSettings, advice_on

__all__ = [
    "CORE_HAS_POLICIES",
    "DEFAULT_POLICY",
    "BloqRetryPolicy",
    "MissingFeature",
    "policy_argument",
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
