"""The token ladder: a held token, else the refresh token, else the client keys, else keys read anew."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from airflow_provider_bloq.auth.flight import SingleFlight
from airflow_provider_bloq.auth.flow import Flow, load_keys
from airflow_provider_bloq.auth.keys import ClientKeys, KeyReading, KeySource
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.auth.token import AccessToken, TokenReply
from airflow_provider_bloq.exceptions import BloqClientKeysRejected, BloqError, BloqRateLimited

__all__ = ["GrantRefused", "TokenEndpoint", "TokenProvider"]

log = logging.getLogger(__name__)

#: After an early refresh failed, the token that still lives is used this long before the next try, in
#: seconds; longer where Accounts asks for it.
EARLY_RETRY_PAUSE = 30.0


class GrantRefused(BloqError):
    """Accounts refuses this credential; another one may still do. Never leaves this package."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"refused with status {status}")


class TokenEndpoint(Protocol):
    """``POST /auth/token`` of Accounts."""

    def mint(self, keys: ClientKeys, *, patient: bool) -> Flow[TokenReply]:
        """Grant ``clientCredentials``.

        :param keys: The client keys.
        :param patient: Whether to wait and try again when Accounts is busy or away.
        :raises GrantRefused: The keys are refused.
        """

    def refresh(self, refresh_token: Secret, *, patient: bool) -> Flow[TokenReply]:
        """Grant ``refreshToken``; parameters and errors as for :meth:`mint`."""


class TokenProvider:
    """Holds one account's tokens and client keys for this process and keeps them usable.

    Safe for threads and for tasks of event loops, also mixed: all of its methods that may do I/O
    are flows, and one of them at a time renews.

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
        self._flight: SingleFlight[AccessToken] = SingleFlight()
        self._clock = clock
        self._random = random
        self._start_empty()

    def forget(self) -> None:
        """Drop every token and key, and a renewal under way. For a forked child."""
        self._start_empty()
        self._flight.reset()
        self._source.forget()

    def _start_empty(self) -> None:
        # Reentrant: a signal handler may come by here while its own thread holds the lock.
        self._lock = threading.RLock()
        self._token: AccessToken | None = None
        self._refresh_token: Secret | None = None
        self._reading: KeyReading | None = None
        self._early_again_at = float("-inf")

    @property
    def has_keys(self) -> bool:
        """Whether the client keys have been read."""
        return self._reading is not None

    @property
    def key_version(self) -> int | None:
        """KV version of the client keys in use; None before the first reading or without versions."""
        return self._reading.version if self._reading else None

    @property
    def expires_in(self) -> float | None:
        """Seconds that the held token still lives; None where none is held."""
        return self._token.expires_at - self._clock() if self._token else None

    def token(self) -> Flow[AccessToken]:
        """Give a token that can be used now, from as low on the ladder as will do.

        :raises BloqClientKeysRejected: The client keys are refused, also when read anew.
        :raises BloqConfigurationError: The source of the client keys is set up wrongly.
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

    def reject(self, secret: Secret) -> None:
        """Take note that a service refused this token. One that was replaced already is no news.

        :param secret: The token that was sent.
        """
        with self._lock:
            held = self._token
            if held is not None and held.secret == secret:
                self._token = None

    def _climb(self) -> Flow[AccessToken]:
        held, now = self._token, self._clock()
        if held is None or not held.is_alive(now):
            return (yield from self._renew(patient=True))
        if held.is_fresh(now):
            return held
        try:
            return (yield from self._renew(patient=False))
        except Exception as error:
            now = self._clock()
            if not held.is_alive(now) or self._token is not held:
                raise
            told = error.retry_after if isinstance(error, BloqRateLimited) else None
            self._early_again_at = now + max(EARLY_RETRY_PAUSE, told or 0.0)
            log.warning("An early renewal failed (%s); the access token still lives and is used on.", error)
            return held

    def _renew(self, *, patient: bool) -> Flow[AccessToken]:
        if self._refresh_token is not None:
            try:
                reply = yield from self._endpoint.refresh(self._refresh_token, patient=patient)
            except GrantRefused as refusal:
                log.info(
                    "Accounts refuses the refresh token (%d); minting with the client keys.", refusal.status
                )
                self._refresh_token = None
            else:
                return self._keep(reply, "refreshed")
        return (yield from self._mint(patient=patient))

    def _mint(self, *, patient: bool) -> Flow[AccessToken]:
        reading = self._reading
        if reading is None:
            reading = self._reading = yield from load_keys(self._source)
        try:
            return (yield from self._mint_with(reading, patient=patient))
        except GrantRefused as refusal:
            log.info(
                "Accounts refuses the client keys (%d); reading %s again.",
                refusal.status,
                self._source.description,
            )
        newer = yield from load_keys(self._source)
        if newer == reading:
            raise BloqClientKeysRejected(
                f"Accounts refuses the client keys of client ID {reading.keys.client_id}, and "
                f"{self._source.description} still holds the same ones{_version(reading)}. Create a new pair of "
                "client keys at Bloq and store it there."
            )
        if reading.version == newer.version:
            log.info("Client keys changed in %s", self._source.description)
        else:
            log.info("Client keys version %s -> %s", reading.version, newer.version)
        self._reading = newer
        try:
            return (yield from self._mint_with(newer, patient=patient))
        except GrantRefused:
            raise BloqClientKeysRejected(
                f"Accounts refuses the client keys of client ID {newer.keys.client_id}, which were just read from "
                f"{self._source.description}{_version(newer)}, as it refused those before them. Create a new pair "
                "of client keys at Bloq and store it there."
            ) from None

    def _mint_with(self, reading: KeyReading, *, patient: bool) -> Flow[AccessToken]:
        reply = yield from self._endpoint.mint(reading.keys, patient=patient)
        return self._keep(reply, f"minted{_version(reading)}")

    def _keep(self, reply: TokenReply, how: str) -> AccessToken:
        now = self._clock()
        token = AccessToken.from_reply(reply, now, self._random)
        with self._lock:
            self._token = token
            if reply.refresh_token is not None:
                self._refresh_token = reply.refresh_token
        log.debug("Access token %s, lives %.0f min", how, (token.expires_at - now) / 60)
        return token


def _version(reading: KeyReading) -> str:
    return f" (keys version {reading.version})" if reading.version is not None else ""
