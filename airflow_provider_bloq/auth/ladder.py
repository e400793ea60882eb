"""The token ladder: a held token, else the refresh token, else the client keys, else keys read anew."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Protocol

from airflow_provider_bloq.auth.flow import Flow, load_keys, tell
from airflow_provider_bloq.auth.keys import ClientKeys, KeyReading, KeySource
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.auth.supply import TokenSupply
from airflow_provider_bloq.auth.token import AccessToken, TokenReply
from airflow_provider_bloq.auth.token_events import (
    KeysChanged,
    KeysRefused,
    RefreshRefused,
    TokenMinted,
    TokenRefreshed,
)
from airflow_provider_bloq.exceptions import BloqClientKeysRejected, BloqError

__all__ = ["GrantRefused", "TokenEndpoint", "TokenProvider"]


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


class TokenProvider(TokenSupply):
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

    def reject(self, secret: Secret, *, at_first_use: bool = False) -> None:
        """Take note that a service refused this token; see :meth:`.TokenSupply.reject`.

        One that came by refresh and was refused at its first use takes the refresh token with it: the
        next comes from the client keys, so that the rung above gets its turn within the same call.
        """
        with self._lock:
            is_held = self._token is not None and self._token.secret == secret
            if at_first_use and is_held and self._came_by_refresh:
                self._refresh_token = None
            super().reject(secret)

    def read_keys(self) -> Flow[KeyReading]:
        """Read the client keys from their source now; the next mint is made with these."""
        reading = self._reading = yield from load_keys(self._source)
        return reading

    def renew(self, *, patient: bool) -> Flow[AccessToken]:
        """Get a new token, whatever is held. For one caller at a time.

        :param patient: Whether to wait and try again when Accounts is busy or away.
        :raises BloqError: As :meth:`token`.
        """
        return (yield from self._renew(patient=patient))

    def _renew(self, *, patient: bool) -> Flow[AccessToken]:
        if self._refresh_token is not None:
            try:
                reply = yield from self._endpoint.refresh(self._refresh_token, patient=patient)
            except GrantRefused as refusal:
                yield from tell(RefreshRefused(refusal.status))
                self._refresh_token = None
            else:
                token = self._keep(reply, by_refresh=True)
                yield from tell(TokenRefreshed(self._left(token)))
                return token
        return (yield from self._mint(patient=patient))

    def _mint(self, *, patient: bool) -> Flow[AccessToken]:
        reading = self._reading
        if reading is None:
            reading = yield from self.read_keys()
        try:
            return (yield from self._mint_with(reading, patient=patient))
        except GrantRefused as refusal:
            yield from tell(KeysRefused(refusal.status, self._source.description))
        newer = yield from load_keys(self._source)
        if newer == reading:
            raise BloqClientKeysRejected(
                f"Accounts refuses the client keys of client ID {reading.keys.client_id}, and "
                f"{self._source.description} still holds the same ones{_version(reading)}. Create a new pair of "
                "client keys at Bloq and store it there."
            )
        yield from tell(KeysChanged(self._source.description, reading.version, newer.version))
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
        token = self._keep(reply, by_refresh=False)
        yield from tell(TokenMinted(self._left(token), reading.version))
        return token

    def _keep(self, reply: TokenReply, *, by_refresh: bool) -> AccessToken:
        token = AccessToken.from_reply(reply, self._clock(), self._random)
        with self._lock:
            self._token = token
            self._came_by_refresh = by_refresh
            if reply.refresh_token is not None:
                self._refresh_token = reply.refresh_token
        return token

    def _left(self, token: AccessToken) -> float:
        return token.expires_at - self._clock()


def _version(reading: KeyReading) -> str:
    return f" (keys version {reading.version})" if reading.version is not None else ""
