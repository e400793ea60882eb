"""An access token, and how long it may be used."""

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

#: What a token gets whose own words about its life are missing or not to be believed, in seconds.
ASSUMED_LIFETIME = 55 * 60.0
#: No access token of Bloq lives longer than 12 h; twice that is a mistake, such as milliseconds.
LONGEST_BELIEVED_LIFETIME = 24 * 3600.0
#: The access-token margin: renew this long before the end, in seconds ...
MARGIN = 300.0
#: ... minus a random part of this, so that tasks started together do not renew together.
MARGIN_JITTER = 60.0


@dataclass(frozen=True, slots=True)
class TokenReply:
    """What ``POST /auth/token`` gave.

    :param access_token: The Client Access Token.
    :param refresh_token: A Client Refresh Token, where the reply held one.
    :param date: The reply's ``Date`` header in epoch seconds: the service's own clock.
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
    :param expires_at: From here on it is dead.
    :param renew_at: From here on it is within its margin and wants to be renewed.
    """

    secret: Secret
    expires_at: float
    renew_at: float

    @classmethod
    def from_reply(cls, reply: TokenReply, now: float, random: Callable[[], float]) -> AccessToken:
        """Date a token that has just arrived.

        :param reply: The reply that it came in.
        :param now: Monotonic time at which the reply was read, in seconds.
        :param random: Gives a number from 0 to 1; drawn once per token.
        """
        lifetime = lifetime_of(reply.access_token, reply.date)
        return cls.ending_at(now - reply.elapsed + lifetime, lifetime, reply.access_token, random)

    @classmethod
    def ending_at(
        cls, expires_at: float, lifetime: float, secret: Secret, random: Callable[[], float]
    ) -> AccessToken:
        """Date a token whose end is known.

        :param expires_at: Its end, in monotonic time.
        :param lifetime: Its whole life in seconds, of which the margin is never more than half.
        :param secret: The token.
        :param random: Gives a number from 0 to 1; drawn once per token.
        """
        margin = min(MARGIN - random() * MARGIN_JITTER, lifetime / 2)
        return cls(secret, expires_at, expires_at - margin)

    def is_alive(self, now: float) -> bool:
        """Tell whether the token can still be used."""
        return now < self.expires_at

    def is_fresh(self, now: float) -> bool:
        """Tell whether the token can be used and need not be renewed yet."""
        return now < self.renew_at


def token_in(fields: object, name: str) -> Secret | None:
    """Take a token out of an answer, hidden at once; None where there is none, or none that fits into a header.

    :param fields: The answer, decoded; it need not be an object.
    :param name: The name of the token's field.
    """
    value = fields.get(name) if isinstance(fields, Mapping) else None
    if isinstance(value, str) and value and value.isascii() and value.isprintable() and " " not in value:
        return Secret(value)
    return None


def lifetime_of(token: Secret, date: float | None) -> float:
    """Return for how many seconds from its issue a token is good.

    The wall clock of this machine takes no part: it may be wrong.

    :param token: The token; usually a JWT, of which only ``iat`` and ``exp`` are read.
    :param date: The service's time when it issued the token, used where there is no ``iat``.
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
        "The access token does not tell a believable lifetime; it is taken for %.0f minutes.",
        ASSUMED_LIFETIME / 60,
    )
    return ASSUMED_LIFETIME


def issue_time_of(token: Secret) -> float | None:
    """Return when a token was issued, by the clock of Accounts, in epoch seconds; None if it does not say."""
    return _number(claims_of(token).get("iat"))


def claims_of(token: Secret) -> dict[str, Any]:
    """Return what a token says of itself, unchecked; nothing where it is no JWT."""
    import jwt

    # The signature is the services' business: this side is handed the token by Accounts over TLS
    # and only wants to know when to ask for the next one.
    try:
        # Without the signature none of the claims is checked either.
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
