"""Tokens: how they are issued, found and revoked; and safe comparison of secrets.

Texts of a request may contain surrogates, from stray bytes of a header or from escapes in JSON.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass
from enum import StrEnum

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from airflow_provider_bloq.testing.local.clock import ServiceClock
from airflow_provider_bloq.testing.local.options import LocalBloqOptions

__all__ = [
    "Grant",
    "TokenKind",
    "TokenState",
    "TokenStore",
    "as_bytes",
    "digest",
    "is_whole",
    "same_secret",
]


def as_bytes(text: str) -> bytes:
    """Encode a text that may contain surrogates."""
    return text.encode(errors="surrogatepass")


def is_whole(text: str) -> bool:
    """Return whether a text is free of surrogates, so that it can be encoded as UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def same_secret(one: str, other: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(as_bytes(one), as_bytes(other))


_ISSUER = "https://accounts.bloq.cloud"


class TokenKind(StrEnum):
    """The purpose of a token."""

    ACCOUNT = "account"
    ACCESS = "clientAccess"
    REFRESH = "clientRefresh"


class TokenState(StrEnum):
    """The state of a token."""

    LIVE = "live"
    EXPIRED = "expired"
    REVOKED = "revoked"


_AUDIENCE = {
    TokenKind.ACCOUNT: ("accounts", "nodes", "connect"),
    TokenKind.ACCESS: ("nodes", "connect"),
    TokenKind.REFRESH: ("accounts:refresh",),
}


@dataclass(frozen=True, slots=True)
class Grant:
    """The content of a token. Times are seconds since the epoch."""

    id: str
    kind: TokenKind
    user_id: str
    client_id: str | None
    audience: tuple[str, ...]
    issued_at: int
    expires_at: int

    @property
    def is_admin(self) -> bool:
        """Whether the token is accepted by the routes for administrators."""
        return self.kind is TokenKind.ACCOUNT and "manager" in self.audience


def digest(text: str) -> str:
    """Return the SHA-256 of a text in hex, the only form in which a token is kept."""
    return hashlib.sha256(as_bytes(text)).hexdigest()


class TokenStore:
    """Issues tokens, signed with a key that is new at each start, and keeps their grants.

    A token is looked up by its digest, so any token that was not issued here is forged, whatever its signature.
    """

    def __init__(self, options: LocalBloqOptions, clock: ServiceClock) -> None:
        self._options = options
        self._clock = clock
        self._signing_key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        self._grants: dict[str, Grant] = {}
        self._revoked: set[str] = set()

    @property
    def public_key(self) -> rsa.RSAPublicKey:
        """The key that verifies the tokens' signatures."""
        return self._signing_key.public_key()

    def lifetime(self, kind: TokenKind) -> int:
        """Return the lifetime of a new token in seconds."""
        match kind:
            case TokenKind.ACCOUNT:
                return self._options.account_token_seconds
            case TokenKind.ACCESS:
                return self._options.access_token_seconds
            case TokenKind.REFRESH:
                return self._options.refresh_token_seconds

    def issue(
        self, kind: TokenKind, user_id: str, *, client_id: str | None = None, manager: bool = False
    ) -> str:
        """Issue a token.

        :param client_id: The client key for which it is issued.
        :param manager: Whether the routes for administrators accept it.
        """
        now = int(self._clock.now())
        grant = Grant(
            id=str(uuid.uuid4()),
            kind=kind,
            user_id=user_id,
            client_id=client_id,
            audience=_AUDIENCE[kind] + (("manager",) if manager else ()),
            issued_at=now,
            expires_at=now + self.lifetime(kind),
        )
        token = secrets.token_urlsafe(48) if self._options.opaque_tokens else self._sign(grant)
        self._grants[digest(token)] = grant
        return token

    def find(self, token: str) -> Grant | None:
        """Return the grant of a token; None if it was not issued here."""
        return self._grants.get(digest(token))

    def state(self, grant: Grant) -> TokenState:
        """Return the state of a grant."""
        if grant.id in self._revoked:
            return TokenState.REVOKED
        return TokenState.LIVE if self._clock.now() < grant.expires_at else TokenState.EXPIRED

    def revoke(self, grant: Grant) -> None:
        """Revoke a grant."""
        self._revoked.add(grant.id)

    def revoke_all(self, *kinds: TokenKind, client_id: str | None = None) -> int:
        """Revoke all live grants of some kinds, or only those of one client key; return how many there were."""
        doomed = [
            grant
            for grant in self._grants.values()
            if grant.kind in kinds
            and (client_id is None or grant.client_id == client_id)
            and self.state(grant) is TokenState.LIVE
        ]
        for grant in doomed:
            self.revoke(grant)
        return len(doomed)

    def _sign(self, grant: Grant) -> str:
        claims: dict[str, object] = {
            "iss": _ISSUER,
            "sub": grant.user_id,
            "aud": list(grant.audience),
            "iat": grant.issued_at,
            "exp": grant.expires_at,
            "jti": grant.id,
            "typ": grant.kind.value,
        }
        kept = {name: value for name, value in claims.items() if name not in self._options.omitted_claims}
        # Two tokens of the same text would be one; where no claim sets them apart, the header does.
        headers = None if "jti" in kept else {"nonce": secrets.token_hex(8)}
        return jwt.encode(kept, self._signing_key, algorithm="RS256", headers=headers)
