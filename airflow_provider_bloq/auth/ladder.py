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
from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqClientKeysRejected,
    BloqError,
    BloqRateLimited,
)

__all__ = ["GrantRefused", "TokenEndpoint", "TokenProvider"]


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

    def mint(self, keys: ClientKeys, *, patient: bool) -> Flow[TokenReply]:
        """Grant ``clientCredentials``.

        :param keys: The client keys.
        :param patient: Whether to wait and try again when Accounts is busy or away.
        :raises GrantRefused: The keys are refused.
        """

    def refresh(self, refresh_token: Secret, *, patient: bool) -> Flow[TokenReply]:
        """Grant ``refreshToken``; parameters as for :meth:`mint`.

        :raises BloqApiError: No token came of it; its ``status`` is None where no answer came at all.
        """


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

    def doubt(self, refused: Secret, *, at_first_use: bool) -> None:
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

    def renew(self, *, patient: bool) -> Flow[AccessToken]:
        """Get a new token, whatever is held. For one caller at a time.

        :param patient: Whether to wait and try again when Accounts is busy or away.
        :raises BloqError: As :meth:`token`.
        """
        return (yield from self._renew(patient=patient))

    def _renew(self, *, patient: bool, refused: Secret | None = None) -> Flow[AccessToken]:
        if self._refresh_token is not None:
            try:
                reply = yield from self._endpoint.refresh(self._refresh_token, patient=patient)
            except BloqApiError as failure:
                # How a refresh token is refused is not documented. So whatever is answered counts as that, lest a
                # dead one stands in the way of the client keys for ever; no answer says nothing of it, nor does 429.
                if failure.status is None or isinstance(failure, BloqRateLimited):
                    raise
                yield from tell(RefreshRefused(failure.status))
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
            doubt = refusal.error
            yield from tell(KeysRefused(refusal.status, self._source.description))
        newer = yield from load_keys(self._source)
        if newer == reading:
            if doubt is not None:
                raise doubt
            raise BloqClientKeysRejected(
                f"Accounts refuses the client keys of client ID {reading.keys.client_id}, and "
                f"{self._source.description} still holds the same ones{_version(reading)}. Create a new pair of "
                "client keys at Bloq and store it there."
            )
        yield from tell(KeysChanged(self._source.description, reading.version, newer.version))
        self._reading = newer
        try:
            return (yield from self._mint_with(newer, patient=patient))
        except GrantRefused as refusal:
            raise refusal.error or BloqClientKeysRejected(
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
