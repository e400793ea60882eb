"""``BloqRetryPolicy``: which failed tasks Airflow tries again, and when. Needs Airflow 3.3."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_bloq.flow.backoff import BackoffSettings, advice_on
from airflow_provider_bloq.hooks._compat import MissingFeature, warn_once

__all__ = [
    "CORE_HAS_POLICIES",
    "DEFAULT_POLICY",
    "BloqRetryPolicy",
    "policy_argument",
    "warn_without_retry_policies",
]


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


@dataclass(frozen=True)
class BloqRetryPolicy(BackoffSettings, RetryPolicy):
    """Decides on the errors of this provider, for any task that may raise them::

        @task(retries=5, retry_policy=BloqRetryPolicy())
        def balances(): ...

    - rate limited: wait what the service says, or back off where it does not say;
    - service, node, network or Vault not available: back off;
    - client keys refused, quota exceeded, wrong settings, not found, wrong certificate and whatever else
      would end the same way: fail at once;
    - what is no error of this provider, and most of what a node answers to a call: as the task's
      ``retries`` and ``retry_delay`` say.

    It never adds tries to the task's ``retries``. ``AirflowFailException`` never reaches it: Airflow fails the
    task by itself.

    The operators and sensors of this provider use it where they are given no other: ``retry_policy=None``
    turns it off.

    :param first: Upper bound in seconds of the pause after the first try. It doubles with each try. Half
        of it is always waited, the other half is jitter.
    :param cap: Upper bound in seconds of any other pause.
    :param max_retry_after: Upper bound in seconds of a pause that the service asks for.
    :raises BloqConfigurationError: One of them is no time to wait.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Context | None = None,
    ) -> RetryDecision:
        """Decide by the error of a try; Airflow calls it in the worker."""
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
        """Make the policy of what :meth:`serialize` gave."""
        return cls(**data)


#: What a task of this provider has where its author says nothing of retries. A constructor must name it as
#: the default of its parameter ``retry_policy``, and not set it later: only so a mapped task has it too, and
#: the ``default_args`` of a DAG come before it.
DEFAULT_POLICY: RetryPolicy | None = BloqRetryPolicy() if CORE_HAS_POLICIES else None


def policy_argument(policy: RetryPolicy | None) -> dict[str, Any]:
    """Return a policy as an argument of the core's operators: none where they would not know it.

    :param policy: The policy of a task; None for none.
    """
    return {"retry_policy": policy} if CORE_HAS_POLICIES else {}


def warn_without_retry_policies(retries: int | None) -> None:
    """Warn, once in a process, that a running task that may be tried again has no policy, since the core has none.

    :param retries: How often the task may be tried again.
    """
    if retries and not CORE_HAS_POLICIES:
        warn_once(MissingFeature.RETRY_POLICIES)
