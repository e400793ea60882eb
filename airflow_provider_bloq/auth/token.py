"""An access token and its lifetime."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.auth.credentials import Secret

__all__ = [
    "AccessToken",
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
