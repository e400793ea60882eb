"""What gives access tokens: holds one, renews it in time, and gives up one that was refused."""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from airflow_provider_bloq.auth.flight import SingleFlight
from airflow_provider_bloq.auth.flow import Flow, tell
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.auth.token import AccessToken
from airflow_provider_bloq.auth.token_events import EarlyRenewalFailed
from airflow_provider_bloq.exceptions import BloqRateLimited

__all__ = ["EARLY_RETRY_PAUSE", "TokenSupply"]

#: After an early renewal brought nothing, the token that still lives is used this long before the next
#: try, in seconds; longer where Accounts asks for it.
EARLY_RETRY_PAUSE = 30.0


class TokenSupply(ABC):
    """Holds an access token for this process and keeps it usable; how to get the next one is its subclass's.

    Safe for threads and for tasks of event loops, also mixed: all of its methods that may do I/O
    are flows, and one of them at a time renews.

    :param clock: Monotonic clock, in seconds.
    :param random: Gives a number from 0 to 1, for the margin's jitter.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._flight: SingleFlight[AccessToken] = SingleFlight()
        self._clock = clock
        self._random = random
        self._start_empty()

    def forget(self) -> None:
        """Drop every token, and a renewal under way. For a forked child."""
        self._start_empty()
        self._flight.reset()

    def _start_empty(self) -> None:
        # Reentrant: a signal handler may come by here while its own thread holds the lock.
        self._lock = threading.RLock()
        self._token: AccessToken | None = None
        self._early_again_at = float("-inf")

    @property
    def expires_in(self) -> float | None:
        """Seconds that the held token still lives; None where none is held."""
        return self._token.expires_at - self._clock() if self._token else None

    def token(self) -> Flow[AccessToken]:
        """Give a token that can be used now.

        :raises BloqClientKeysRejected: The client keys are refused, also when read anew.
        :raises BloqConfigurationError: The source of the client keys or the shared path is set up wrongly.
        :raises BloqSharedTokenStale: The shared path holds no living token, and its broker writes none.
        :raises BloqUnavailable: Accounts does not answer, and no held token lives.
        :raises BloqVaultUnavailable: Vault does not answer, and no held token lives.
        """
        held, now = self._token, self._clock()
        if held is not None:
            if held.is_fresh(now):
                return held
            if held.is_alive(now) and (self._flight.in_air or now < self._early_again_at):
                return held
        return (yield from self._flight.join(self._climb))

    def another(
        self, refused: Secret, *, certain: bool = True, at_first_use: bool = False
    ) -> Flow[AccessToken | None]:
        """Give a token in the place of one that a call was refused with.

        That one serves the other calls until there is another: whoever refused it may be alone in that.

        :param refused: The token that was sent.
        :param certain: Whether the refusal surely speaks of the token. In doubt nobody waits who can only wait.
        :param at_first_use: Whether the token was got for the very call that refused it.
        :return: Another token; None where there is no other.
        :raises BloqError: As :meth:`token`.
        """
        self.doubt(refused, at_first_use=at_first_use)
        has_led = False

        def lead() -> Flow[AccessToken]:
            nonlocal has_led
            has_led = True
            return self._replace(refused, certain=certain)

        while True:
            held = self._token
            if held is None or held.secret == refused or not held.is_alive(self._clock()):
                held = yield from self._flight.join(lead)
            if held.secret != refused:
                return held
            # What another led was perhaps after any token at all.
            if has_led:
                return None

    @abstractmethod
    def doubt(self, refused: Secret, *, at_first_use: bool) -> None:
        """Learn from a refusal what it says of where the token came from; parameters as of :meth:`another`."""

    @property
    def can_renew(self) -> bool:
        """Whether there is more that it can do for another token than wait."""
        return True

    @abstractmethod
    def _renew(self, *, patient: bool, refused: Secret | None = None) -> Flow[AccessToken]:
        """Get a token that may replace the held one, and hold it.

        :param patient: Whether one is needed now; else the held one still lives, and nobody waits.
        :param refused: The one that is to be replaced since it was refused.
        """

    def _holds(self, secret: Secret) -> bool:
        held = self._token
        return held is not None and held.secret == secret

    def _replace(self, refused: Secret, *, certain: bool) -> Flow[AccessToken]:
        held = self._token
        if held is not None and held.secret != refused and held.is_alive(self._clock()):
            return held
        patient = certain or self.can_renew
        return self._paced((yield from self._renew(patient=patient, refused=refused)))

    def _climb(self) -> Flow[AccessToken]:
        held, now = self._token, self._clock()
        if held is None or not held.is_alive(now):
            return self._paced((yield from self._renew(patient=True)))
        if held.is_fresh(now):
            return held
        try:
            return self._paced((yield from self._renew(patient=False)))
        except Exception as error:
            now = self._clock()
            if not held.is_alive(now) or self._token is not held:
                raise
            told = error.retry_after if isinstance(error, BloqRateLimited) else None
            self._early_again_at = now + max(EARLY_RETRY_PAUSE, told or 0.0)
            yield from tell(EarlyRenewalFailed(str(error)))
            return held

    def _paced(self, token: AccessToken) -> AccessToken:
        """Let a token that lives, but wants to be renewed already, be used for a while before the next try."""
        now = self._clock()
        if not token.is_fresh(now):
            self._early_again_at = now + EARLY_RETRY_PAUSE
        return token
