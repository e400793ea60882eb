"""How long to wait for the next try, and whether there should be one: decided by the error alone.

Apart from :mod:`.retry`, since DAG files import the retry policy and must load no more than this.
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
]


#: Another change of the same thing is under way. It may be over by the next try.
_CONFLICTS = frozenset({409, 423})


#: The call itself is wrong, and would be wrong again (JSON-RPC 2.0, section 5.1).
_WRONG_CALLS = frozenset({-32700, -32600, -32601, -32602})


#: The node counts the requests of its caller (EIP-1474).
_LIMIT_EXCEEDED = -32005


@dataclass(frozen=True)
class BackoffSettings:
    """How long a failed task waits for its next try.

    :param first: Upper bound in seconds of the pause after the first try. It doubles with each try. Half
        of it is always waited, the other half is jitter.
    :param cap: Upper bound in seconds of any other pause.
    :param max_retry_after: Upper bound in seconds of a pause that the service asks for.
    :raises BloqConfigurationError: One of them is no time to wait.
    """

    first: float = 30.0
    cap: float = 600.0
    max_retry_after: float = 3600.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 < value < float("inf"):
                raise BloqConfigurationError.of(
                    name, f"{value!r} is no time to wait", "Give seconds, more than 0.", "retry policy"
                )

    def pause(self, try_number: int, jitter: float) -> float:
        """Return the seconds to wait where the service said nothing.

        :param try_number: The number of the try that failed, from 1.
        :param jitter: From 0 to 1.
        """
        # A task that is cleared again and again has any number of tries.
        doublings = min(max(try_number - 1, 0), 32)
        return min(self.cap, self.first * 2.0**doublings) * (1.0 + jitter) / 2.0

    def retry_pause(self, seconds: float, jitter: float) -> float:
        """Return the seconds to wait where the service said how many.

        :param seconds: What it said. Up to a tenth more keeps those who were told the same from
            returning as one.
        :param jitter: From 0 to 1.
        """
        return min(seconds + jitter * min(seconds / 10.0, 30.0), self.max_retry_after)


@dataclass(frozen=True)
class Advice:
    """What to do.

    :param reason: Why, for a person.
    :param pause: Seconds to wait for the next try; None where there should be none.
    """

    reason: str
    pause: float | None = None


def advice_on(
    error: BaseException, try_number: int, jitter: float, backoff: BackoffSettings
) -> Advice | None:
    """Decide by the error that a try failed with.

    :param error: The error.
    :param try_number: The number of the try, from 1.
    :param jitter: From 0 to 1.
    :param backoff: How long to wait.
    :return: None where the task's own settings know as much.
    """
    if not isinstance(error, BloqError):
        return None
    if isinstance(error, BloqRateLimited) and error.retry_after is not None:
        told = error.retry_after
        return Advice(f"The service asks to wait {told:g} s.", backoff.retry_pause(told, jitter))
    if isinstance(error, BloqRpcError):
        return _advice_on_answer(error, backoff.pause(try_number, jitter))
    if isinstance(error, BloqWaitTimeout) or (isinstance(error, BloqApiError) and error.status in _CONFLICTS):
        return None
    if error.retryable:
        return Advice(f"{type(error).__name__} may pass.", backoff.pause(try_number, jitter))
    return Advice(_reason_to_fail(error))


def _advice_on_answer(error: BloqRpcError, pause: float) -> Advice | None:
    if error.code == _LIMIT_EXCEEDED:
        return Advice("The node asks for fewer requests.", pause)
    if error.code in _WRONG_CALLS:
        return Advice("The node does not understand the call, and would not at the next try.")
    # Nodes use all other codes for this and that: some of it passes.
    return None


def _reason_to_fail(error: BloqError) -> str:
    match error:
        case BloqQuotaExceeded():
            return "The account is at a limit of its plan: delete a node that is not needed, or have the plan enlarged."
        case BloqClientKeysRejected():
            return "Accounts refuses the client keys: correct them where they are kept."
        case BloqConfigurationError():
            return "A setting is wrong: correct it."
    return f"{type(error).__name__}: another try would end the same way."
