"""Back-off, and the decision whether a failed task or poll should be tried again.

Separate from :mod:`.retry` because DAG files import the retry policy and must load no more than this.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqClientKeysRejected,
    BloqConfigurationError,
    BloqError,
    BloqQuotaExceeded,
    BloqRateLimited,
    BloqRpcError,
    BloqWaitTimeout,
)

__all__ = [
    "Advice",
    "BackoffSettings",
    "advice_on",
    "exponential",
]


def exponential(first: float, cap: float, failures: int) -> float:
    """Return the upper bound of the pause after some failures in a row, in seconds.

    :param first: The bound after the first failure; it doubles with each.
    :param cap: The highest bound.
    :param failures: How many there were; a task that is cleared again and again may have any number of them.
    """
    return min(cap, first * 2.0 ** min(max(failures - 1, 0), 32))


@dataclass(frozen=True)
class BackoffSettings:
    """How long to wait after a failure.

    :param first: Upper bound in seconds of the pause after the first failure. It doubles with each. Half of it is
        always waited, the other half is jitter.
    :param cap: Upper bound in seconds of any pause that the service did not ask for.
    :param max_retry_after: Upper bound in seconds of a pause that the service asks for.
    :raises BloqConfigurationError: A value is not a positive number of seconds.
    """

    first: float = 30.0
    cap: float = 600.0
    max_retry_after: float = 3600.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 < value < float("inf"):
                raise BloqConfigurationError.of(
                    name, f"{value!r} is not a time to wait", "Give seconds, more than 0.", "retry policy"
                )

    def pause(self, failures: int, jitter: float) -> float:
        """Return the seconds to wait if the service does not say how long.

        :param failures: Failures in a row, from 1.
        :param jitter: From 0 to 1.
        """
        return exponential(self.first, self.cap, failures) * (1.0 + jitter) / 2.0

    def retry_pause(self, seconds: float, jitter: float) -> float:
        """Return the seconds to wait if the service asks for a pause.

        :param seconds: The pause it asks for. Up to a tenth is added, so that not all callers return at once.
        :param jitter: From 0 to 1.
        """
        return min(seconds + jitter * min(seconds / 10.0, 30.0), self.max_retry_after)


class Advice:
    """What to do after a failure.

    :param reason: Why, for a person.
    :param pause: Seconds until the next try; None if there should be none.
    """

    __slots__ = ("pause", "reason")

    def __init__(self, reason: str, pause: float | None = None) -> None:
        self.reason = reason
        self.pause = pause


#: Another change of the same thing is under way. It may be over by the next try.
_CONFLICTS = frozenset({409, 423})
#: The call itself is wrong (JSON-RPC 2.0, section 5.1).
_WRONG_CALLS = frozenset({-32700, -32600, -32601, -32602})
#: The node limits its caller's requests (EIP-1474).
_LIMIT_EXCEEDED = -32005


def advice_on(
    error: BaseException, try_number: int, jitter: float, backoff: BackoffSettings
) -> Advice | None:
    """Decide by the error of a try whether there should be another.

    :param error: The error.
    :param try_number: The number of the try, from 1.
    :param jitter: From 0 to 1.
    :param backoff: How long to wait.
    :return: None to leave the decision to the task's own settings.
    """
    if not isinstance(error, BloqError):
        return None
    if isinstance(error, BloqRateLimited) and error.retry_after is not None:
        seconds = error.retry_after
        return Advice(f"The service asks to wait {seconds:g} s.", backoff.retry_pause(seconds, jitter))
    pause = backoff.pause(try_number, jitter)
    if isinstance(error, BloqRpcError):
        if error.code == _LIMIT_EXCEEDED:
            return Advice("The node asks for fewer requests.", pause)
        if error.code in _WRONG_CALLS:
            return Advice("The node does not understand the call, and would not at the next try.")
        # Nodes use the other codes for all kinds of errors, some of them temporary.
        return None
    if isinstance(error, BloqWaitTimeout) or (isinstance(error, BloqApiError) and error.status in _CONFLICTS):
        return None
    if error.retryable:
        return Advice(f"{type(error).__name__} may pass.", pause)
    return Advice(_reason_to_fail(error))


def _reason_to_fail(error: BloqError) -> str:
    match error:
        case BloqQuotaExceeded():
            return "The account is at a limit of its plan: delete a node that is not needed, or ask for a larger plan."
        case BloqClientKeysRejected():
            return "Accounts refuses the client keys: correct them where they are kept."
        case BloqConfigurationError():
            return "A setting is wrong: correct it."
    return f"{type(error).__name__}: another try would end the same way."
