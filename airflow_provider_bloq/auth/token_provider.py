"""Access tokens: how long one may be used, and how the next one is obtained.

The provider uses the token that it holds, else the refresh token, else the client keys, else the client keys read
again from their source.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_provider_bloq.auth.credentials import ClientKeys, KeyReading, KeySource, Secret
from airflow_provider_bloq.exceptions import BloqApiError, BloqClientKeysRejected, BloqError, BloqRateLimited
from airflow_provider_bloq.flow.effects import Flow, SingleFlight, emit, load_keys
from airflow_provider_bloq.flow.events import Event, duration

__all__ = [
    "EARLY_RETRY_PAUSE",
    "AccessToken",
    "ClientKeysTokenProvider",
    "GrantRefused",
    "TokenEndpoint",
    "TokenProvider",
    "TokenReply",
    "claims_of",
    "issue_time_of",
    "lifetime_of",
    "token_in",
]


log = logging.getLogger(__name__)

#: Lifetime of a token that has no believable one in its claims, in seconds.
ASSUMED_LIFETIME = 55 * 60.0
#: Access tokens of Bloq live 12 h at most; twice that is a mistake, such as milliseconds.
LONGEST_BELIEVED_LIFETIME = 24 * 3600.0
#: The access-token margin: renew this long before the token expires, in seconds ...
MARGIN = 300.0
#: ... minus a random part of this, so that tasks that start together do not renew together.
MARGIN_JITTER = 60.0


@dataclass(frozen=True, slots=True)
class TokenReply:
    """The response of ``POST /auth/token``.

    :param access_token: The Client Access Token.
    :param refresh_token: A Client Refresh Token, if there is one.
    :param date: Its ``Date`` header in epoch seconds, by the service's clock.
    :param elapsed: Seconds that the request took; the token is at most that old.
    """

    access_token: Secret
    refresh_token: Secret | None = None
    date: float | None = None
    elapsed: float = 0.0


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A Client Access Token with its times on this process's monotonic clock.

    :param secret: The token.
    :param expires_at: When it expires.
    :param renew_at: When it is due for renewal.
    """

    secret: Secret
    expires_at: float
    renew_at: float

    @classmethod
    def from_reply(cls, reply: TokenReply, now: float, random: Callable[[], float]) -> AccessToken:
        """Return the token of a response, with its times.

        :param reply: The response.
        :param now: Monotonic time at which it was received, in seconds.
        :param random: Returns a number from 0 to 1; called once per token.
        """
        lifetime = lifetime_of(reply.access_token, reply.date)
        return cls.ending_at(now - reply.elapsed + lifetime, lifetime, reply.access_token, random)

    @classmethod
    def ending_at(
        cls, expires_at: float, lifetime: float, secret: Secret, random: Callable[[], float]
    ) -> AccessToken:
        """Return a token that expires at a known time.

        :param expires_at: When it expires, in monotonic time.
        :param lifetime: Its whole lifetime in seconds; the margin is at most half of it.
        :param secret: The token.
        :param random: Returns a number from 0 to 1; called once per token.
        """
        margin = min(MARGIN - random() * MARGIN_JITTER, lifetime / 2)
        return cls(secret, expires_at, expires_at - margin)

    def is_alive(self, now: float) -> bool:
        """Return whether the token is still valid."""
        return now < self.expires_at

    def is_fresh(self, now: float) -> bool:
        """Return whether the token is valid and not yet due for renewal."""
        return now < self.renew_at


def token_in(fields: object, name: str) -> Secret | None:
    """Return the token in a response; None if there is none, or none that fits into a header.

    :param fields: The decoded response, not necessarily an object.
    :param name: Name of the token's field.
    """
    value = fields.get(name) if isinstance(fields, Mapping) else None
    if isinstance(value, str) and value and value.isascii() and value.isprintable() and " " not in value:
        return Secret(value)
    return None


def lifetime_of(token: Secret, date: float | None) -> float:
    """Return the lifetime of a token from its issue, in seconds.

    The clock of this machine is not used, since it may be wrong.

    :param token: The token; usually a JWT, of which only ``iat`` and ``exp`` are read.
    :param date: The service's time of issue, used if there is no ``iat``.
    """
    claims = claims_of(token)
    issued, expires = _number(claims.get("iat")), _number(claims.get("exp"))
    if issued is None:
        issued = date
    if issued is not None and expires is not None:
        lifetime = expires - issued
        if 0 < lifetime <= LONGEST_BELIEVED_LIFETIME:
            return lifetime
    log.warning(
        "The access token has no believable lifetime; %.0f minutes are assumed.",
        ASSUMED_LIFETIME / 60,
    )
    return ASSUMED_LIFETIME


def issue_time_of(token: Secret) -> float | None:
    """Return when a token was issued, in epoch seconds by the clock of Accounts; None if it does not say."""
    return _number(claims_of(token).get("iat"))


def claims_of(token: Secret) -> dict[str, Any]:
    """Return the claims of a token, unverified; empty if it is not a JWT."""
    import jwt

    # Services verify the signature. Here the token came from Accounts over TLS, and only its expiry is needed.
    try:
        return jwt.decode(token.reveal(), options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError):
        return {}


def _number(claim: object) -> float | None:
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        return None
    try:
        return float(claim)
    except OverflowError:
        return None


#: Seconds until the next attempt after an early renewal failed, while the old token is still valid; longer if
#: Accounts asks for it.
EARLY_RETRY_PAUSE = 30.0


class TokenProvider(ABC):
    """Holds an access token for this process and keeps it usable; a subclass knows how to get the next one.

    Safe for threads and for tasks of event loops, also mixed: all methods that may do I/O are flows, and only one
    renewal runs at a time.

    :param clock: Monotonic clock, in seconds.
    :param random: Returns a number from 0 to 1, for jitter.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._renewal: SingleFlight[AccessToken] = SingleFlight()
        self._clock = clock
        self._random = random
        self._start_empty()

    def forget(self) -> None:
        """Drop every token and a running renewal. For a forked child."""
        self._start_empty()
        self._renewal.reset()

    def _start_empty(self) -> None:
        # Reentrant: a signal handler may get here while its own thread holds the lock.
        self._lock = threading.RLock()
        self._token: AccessToken | None = None
        self._early_again_at = float("-inf")

    @property
    def expires_in(self) -> float | None:
        """Seconds until the held token expires; None if none is held."""
        return self._token.expires_at - self._clock() if self._token else None

    def token(self) -> Flow[AccessToken]:
        """Return a token that is valid now.

        :raises BloqClientKeysRejected: The client keys are refused, even after reading them again.
        :raises BloqConfigurationError: The source of the client keys or the shared path is set up wrongly.
        :raises BloqSharedTokenStale: The shared path holds no valid token, and nobody writes one.
        :raises BloqUnavailable: Accounts does not answer, and no valid token is held.
        :raises BloqVaultUnavailable: Vault does not answer, and no valid token is held.
        """
        held, now = self._token, self._clock()
        if held is not None:
            if held.is_fresh(now):
                return held
            if held.is_alive(now) and (self._renewal.in_flight or now < self._early_again_at):
                return held
        return (yield from self._renewal.join(self._ensure_fresh))

    def replace_refused(
        self, refused: Secret, *, certain: bool = True, at_first_use: bool = False
    ) -> Flow[AccessToken | None]:
        """Return another token than the one that was refused.

        Other calls use the refused token until there is another: only one service may refuse it.

        :param refused: The refused token.
        :param certain: Whether the refusal is certainly about the token. If not, a provider that cannot renew does
            not wait.
        :param at_first_use: Whether the token was renewed for the call that was refused.
        :return: Another token; None if there is none.
        :raises BloqError: As :meth:`token`.
        """
        self.on_refusal(refused, at_first_use=at_first_use)
        has_renewed = False

        def renew() -> Flow[AccessToken]:
            nonlocal has_renewed
            has_renewed = True
            return self._replace(refused, certain=certain)

        while True:
            held = self._token
            if held is None or held.secret == refused or not held.is_alive(self._clock()):
                held = yield from self._renewal.join(renew)
            if held.secret != refused:
                return held
            # A renewal by another caller may have had another purpose.
            if has_renewed:
                return None

    @abstractmethod
    def on_refusal(self, refused: Secret, *, at_first_use: bool) -> None:
        """Note a refusal; parameters as for :meth:`replace_refused`."""

    @property
    def can_renew(self) -> bool:
        """Whether this process can renew the token, rather than only wait for another."""
        return True

    @abstractmethod
    def _renew(self, *, retry: bool, refused: Secret | None = None) -> Flow[AccessToken]:
        """Get a new token and hold it.

        :param retry: Whether a token is needed now; otherwise the held one is still valid, and one attempt is enough.
        :param refused: The token that was refused, if any.
        """

    def _holds(self, secret: Secret) -> bool:
        held = self._token
        return held is not None and held.secret == secret

    def _replace(self, refused: Secret, *, certain: bool) -> Flow[AccessToken]:
        held = self._token
        if held is not None and held.secret != refused and held.is_alive(self._clock()):
            return held
        retry = certain or self.can_renew
        return self._postpone_renewal((yield from self._renew(retry=retry, refused=refused)))

    def _ensure_fresh(self) -> Flow[AccessToken]:
        held, now = self._token, self._clock()
        if held is None or not held.is_alive(now):
            return self._postpone_renewal((yield from self._renew(retry=True)))
        if held.is_fresh(now):
            return held
        try:
            return self._postpone_renewal((yield from self._renew(retry=False)))
        except Exception as error:
            now = self._clock()
            if not held.is_alive(now) or self._token is not held:
                raise
            retry_after = error.retry_after if isinstance(error, BloqRateLimited) else None
            self._early_again_at = now + max(EARLY_RETRY_PAUSE, retry_after or 0.0)
            yield from emit(
                Event(
                    "token.early_renewal_failed",
                    f"An early renewal failed ({error}); the access token is still valid and remains in use.",
                    logging.WARNING,
                )
            )
            return held

    def _postpone_renewal(self, token: AccessToken) -> AccessToken:
        """Use a token for a while even if it is already due for renewal."""
        now = self._clock()
        if not token.is_fresh(now):
            self._early_again_at = now + EARLY_RETRY_PAUSE
        return token


class GrantRefused(BloqError):
    """Accounts refuses a credential; another one may be accepted. Internal to this package.

    :param status: The HTTP status.
    :param error: The error to raise if there is no other credential and the response does not say that it is about
        the credential; None if it does.
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
        :param retry: Whether to retry if Accounts is busy or unavailable.
        :raises GrantRefused: The keys are refused.
        """

    def refresh(self, refresh_token: Secret, *, retry: bool) -> Flow[TokenReply]:
        """Grant ``refreshToken``; parameters as for :meth:`mint`.

        :raises BloqApiError: There is no token; its ``status`` is None if there was no response.
        """


class ClientKeysTokenProvider(TokenProvider):
    """Holds one account's tokens and client keys for this process.

    :param endpoint: Issues the tokens.
    :param source: The source of the client keys.
    :param clock: Monotonic clock, in seconds.
    :param random: Returns a number from 0 to 1, for jitter.
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
        """Drop every token and key, and a running renewal. For a forked child."""
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
        """Client ID in use; None before the keys were read."""
        return self._reading.keys.client_id if self._reading else None

    @property
    def key_version(self) -> int | None:
        """KV version of the client keys in use; None before they were read, or without versions."""
        return self._reading.version if self._reading else None

    def on_refusal(self, refused: Secret, *, at_first_use: bool) -> None:
        """Drop the refresh token if a token that it gave is refused at first use: the next comes from the keys."""
        with self._lock:
            if at_first_use and self._holds(refused) and self._came_by_refresh:
                self._refresh_token = None

    def read_keys(self) -> Flow[KeyReading]:
        """Read the client keys from their source; the next token is minted with them."""
        before = self._reading
        reading = self._reading = yield from load_keys(self._source)
        if before is not None and before.keys != reading.keys:
            # It belongs to the previous pair, and so would its tokens.
            self._refresh_token = None
        return reading

    def renew(self, *, retry: bool) -> Flow[AccessToken]:
        """Get a new token, even if a valid one is held. For one caller at a time.

        :param retry: Whether to retry if Accounts is busy or unavailable.
        :raises BloqError: As :meth:`token`.
        """
        return (yield from self._renew(retry=retry))

    def _renew(self, *, retry: bool, refused: Secret | None = None) -> Flow[AccessToken]:
        if self._refresh_token is not None:
            try:
                reply = yield from self._endpoint.refresh(self._refresh_token, retry=retry)
            except BloqApiError as failure:
                # It is not documented how a refresh token is refused. Every error response but a 429 counts, so that
                # an expired refresh token never blocks the client keys.
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
            error = refusal.error
            yield from emit(
                Event(
                    "keys.refused",
                    f"Accounts refuses the client keys ({refusal.status}); reading {self._source.description} again.",
                    logging.INFO,
                )
            )
        newer = yield from load_keys(self._source)
        if newer == reading:
            if error is not None:
                raise error
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
