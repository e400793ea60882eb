"""What gives access tokens: holds one, renews it in time, and gives up one that was refused."""

from __future__ import annotations

import logging
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from airflow_provider_bloq.auth.credentials import ClientKeys, KeyReading, KeySource, Secret
from airflow_provider_bloq.auth.token import AccessToken, TokenReply
from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqClientKeysRejected,
    BloqError,
    BloqRateLimited,
)
from airflow_provider_bloq.flow.effects import Flow, emit, load_keys
from airflow_provider_bloq.flow.events import Event, duration
from airflow_provider_bloq.flow.shared_call import SingleFlight

__all__ = [
    "EARLY_RETRY_PAUSE",
    "ClientKeysTokenProvider",
    "GrantRefused",
    "TokenEndpoint",
    "TokenProvider",
]


#: After an early renewal brought nothing, the token that still lives is used this long before the next
#: try, in seconds; longer where Accounts asks for it.
EARLY_RETRY_PAUSE = 30.0


class TokenProvider(ABC):
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
            if held.is_alive(now) and (self._flight.in_flight or now < self._early_again_at):
                return held
        return (yield from self._flight.join(self._ensure_fresh))

    def replace_refused(
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
        self.on_refusal(refused, at_first_use=at_first_use)
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
    def on_refusal(self, refused: Secret, *, at_first_use: bool) -> None:
        """Learn from a refusal what it says of where the token came from; parameters as of :meth:`another`."""

    @property
    def can_renew(self) -> bool:
        """Whether there is more that it can do for another token than wait."""
        return True

    @abstractmethod
    def _renew(self, *, retry: bool, refused: Secret | None = None) -> Flow[AccessToken]:
        """Get a token that may replace the held one, and hold it.

        :param retry: Whether one is needed now; else the held one still lives, and nobody waits.
        :param refused: The one that is to be replaced since it was refused.
        """

    def _holds(self, secret: Secret) -> bool:
        held = self._token
        return held is not None and held.secret == secret

    def _replace(self, refused: Secret, *, certain: bool) -> Flow[AccessToken]:
        held = self._token
        if held is not None and held.secret != refused and held.is_alive(self._clock()):
            return held
        retry = certain or self.can_renew
        return self._paced((yield from self._renew(retry=retry, refused=refused)))

    def _ensure_fresh(self) -> Flow[AccessToken]:
        held, now = self._token, self._clock()
        if held is None or not held.is_alive(now):
            return self._paced((yield from self._renew(retry=True)))
        if held.is_fresh(now):
            return held
        try:
            return self._paced((yield from self._renew(retry=False)))
        except Exception as error:
            now = self._clock()
            if not held.is_alive(now) or self._token is not held:
                raise
            told = error.retry_after if isinstance(error, BloqRateLimited) else None
            self._early_again_at = now + max(EARLY_RETRY_PAUSE, told or 0.0)
            yield from emit(
                Event(
                    "token.early_renewal_failed",
                    f"An early renewal failed ({error}); the access token still lives and is used on.",
                    logging.WARNING,
                )
            )
            return held

    def _paced(self, token: AccessToken) -> AccessToken:
        """Let a token that lives, but wants to be renewed already, be used for a while before the next try."""
        now = self._clock()
        if not token.is_fresh(now):
            self._early_again_at = now + EARLY_RETRY_PAUSE
        return token


class GrantRefused(BloqError):
    """Accounts refuses this credential; another one may still do. Never leaves this package.

    :param status: The HTTP status.
    :param error: What is to be raised where there is no other credential, if the answer does not say that it is
        about this one. None where it does.
    """

    def __init__(self, status: int, error: BloqApiError | None = None) -> None:
        self.status = status
        self.error = error
        super().__init__(f"refused with status {status}")


class TokenEndpoint(Protocol):
    """``POST /auth/token`` of Accounts."""

    def mint(self, keys: ClientKeys, *, retry: bool) -> Flow[TokenReply]:
        """Grant ``clientCredentials``.

        :param keys: The client keys.
        :param retry: Whether to wait and try again when Accounts is busy or away.
        :raises GrantRefused: The keys are refused.
        """

    def refresh(self, refresh_token: Secret, *, retry: bool) -> Flow[TokenReply]:
        """Grant ``refreshToken``; parameters as for :meth:`mint`.

        :raises BloqApiError: No token came of it; its ``status`` is None where no answer came at all.
        """


class ClientKeysTokenProvider(TokenProvider):
    """Holds one account's tokens and client keys for this process and keeps them usable.

    :param endpoint: Where tokens come from.
    :param source: Where the client keys come from.
    :param clock: Monotonic clock, in seconds.
    :param random: Gives a number from 0 to 1, for the margin's jitter.
    """

    def __init__(
        self,
        endpoint: TokenEndpoint,
        source: KeySource,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._endpoint = endpoint
        self._source = source
        super().__init__(clock=clock, random=random)

    def forget(self) -> None:
        """Drop every token and key, and a renewal under way. For a forked child."""
        super().forget()
        self._source.forget()

    def _start_empty(self) -> None:
        super()._start_empty()
        self._refresh_token: Secret | None = None
        self._came_by_refresh = False
        self._reading: KeyReading | None = None

    @property
    def has_keys(self) -> bool:
        """Whether the client keys have been read."""
        return self._reading is not None

    @property
    def client_id(self) -> str | None:
        """Client ID in use; None before the first reading."""
        return self._reading.keys.client_id if self._reading else None

    @property
    def key_version(self) -> int | None:
        """KV version of the client keys in use; None before the first reading or without versions."""
        return self._reading.version if self._reading else None

    def on_refusal(self, refused: Secret, *, at_first_use: bool) -> None:
        """Learn from a refusal; see :meth:`.TokenSupply.doubt`.

        A token that came by refresh and is refused at its first use takes the refresh token with it: the next
        comes from the client keys, so that the rung above gets its turn within the same call.
        """
        with self._lock:
            if at_first_use and self._holds(refused) and self._came_by_refresh:
                self._refresh_token = None

    def read_keys(self) -> Flow[KeyReading]:
        """Read the client keys from their source now; the next mint is made with these."""
        before = self._reading
        reading = self._reading = yield from load_keys(self._source)
        if before is not None and before.keys != reading.keys:
            # It belongs to the pair before, and so would what it gives.
            self._refresh_token = None
        return reading

    def renew(self, *, retry: bool) -> Flow[AccessToken]:
        """Get a new token, whatever is held. For one caller at a time.

        :param retry: Whether to wait and try again when Accounts is busy or away.
        :raises BloqError: As :meth:`token`.
        """
        return (yield from self._renew(retry=retry))

    def _renew(self, *, retry: bool, refused: Secret | None = None) -> Flow[AccessToken]:
        if self._refresh_token is not None:
            try:
                reply = yield from self._endpoint.refresh(self._refresh_token, retry=retry)
            except BloqApiError as failure:
                # How a refresh token is refused is not documented. So whatever is answered counts as that, lest a
                # dead one stands in the way of the client keys for ever; no answer says nothing of it, nor does 429.
                if failure.status is None or isinstance(failure, BloqRateLimited):
                    raise
                yield from emit(
                    Event(
                        "token.refresh_refused",
                        f"Accounts refuses the refresh token ({failure.status}); minting with the client keys.",
                        logging.INFO,
                    )
                )
                self._refresh_token = None
            else:
                token = self._keep(reply, by_refresh=True)
                lives = duration(token.expires_at - self._clock())
                yield from emit(
                    Event("token.refreshed", f"Access token refreshed, lives {lives}", logging.INFO)
                )
                return token
        return (yield from self._mint(retry=retry))

    def _mint(self, *, retry: bool) -> Flow[AccessToken]:
        reading = self._reading
        if reading is None:
            reading = yield from self.read_keys()
        try:
            return (yield from self._mint_with(reading, retry=retry))
        except GrantRefused as refusal:
            doubt = refusal.error
            yield from emit(
                Event(
                    "keys.refused",
                    f"Accounts refuses the client keys ({refusal.status}); reading {self._source.description} again.",
                    logging.INFO,
                )
            )
        newer = yield from load_keys(self._source)
        if newer == reading:
            if doubt is not None:
                raise doubt
            raise BloqClientKeysRejected(
                f"Accounts refuses the client keys of client ID {reading.keys.client_id}, and "
                f"{self._source.description} still holds the same ones{_version(reading)}. Create a new pair of "
                "client keys at Bloq and store it there."
            )
        change = (
            f"Client keys changed in {self._source.description}"
            if newer.version == reading.version
            else f"Client keys version {reading.version} -> {newer.version}"
        )
        yield from emit(Event("keys.changed", change, logging.INFO))
        self._reading = newer
        try:
            return (yield from self._mint_with(newer, retry=retry))
        except GrantRefused as refusal:
            raise refusal.error or BloqClientKeysRejected(
                f"Accounts refuses the client keys of client ID {newer.keys.client_id}, which were just read from "
                f"{self._source.description}{_version(newer)}, as it refused those before them. Create a new pair "
                "of client keys at Bloq and store it there."
            ) from None

    def _mint_with(self, reading: KeyReading, *, retry: bool) -> Flow[AccessToken]:
        reply = yield from self._endpoint.mint(reading.keys, retry=retry)
        token = self._keep(reply, by_refresh=False)
        lives = duration(token.expires_at - self._clock())
        version = f", keys version {reading.version}" if reading.version is not None else ""
        yield from emit(Event("token.minted", f"Access token minted, lives {lives}{version}", logging.INFO))
        return token

    def _keep(self, reply: TokenReply, *, by_refresh: bool) -> AccessToken:
        token = AccessToken.from_reply(reply, self._clock(), self._random)
        with self._lock:
            self._token = token
            self._came_by_refresh = by_refresh
            if reply.refresh_token is not None:
                self._refresh_token = reply.refresh_token
        return token


def _version(reading: KeyReading) -> str:
    return f" (keys version {reading.version})" if reading.version is not None else ""
