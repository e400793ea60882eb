"""Texts from outside, which may hold halves of characters: a header's stray bytes, or what JSON writes as an escape."""

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
    """Encode a text, whatever it holds."""
    return text.encode(errors="surrogatepass")


def is_whole(text: str) -> bool:
    """Tell whether a text holds whole characters only, so that UTF-8 can write it."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def same_secret(one: str, other: str) -> bool:
    """Compare two secrets in a time that does not tell where they differ."""
    return hmac.compare_digest(as_bytes(one), as_bytes(other))


_ISSUER = "https://accounts.bloq.cloud"


class TokenKind(StrEnum):
    """What a token is for."""

    ACCOUNT = "account"
    ACCESS = "clientAccess"
    REFRESH = "clientRefresh"


class TokenState(StrEnum):
    """What became of a token."""

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
    """What a token stands for. Times are seconds since the epoch."""

    id: str
    kind: TokenKind
    user_id: str
    client_id: str | None
    audience: tuple[str, ...]
    issued_at: int
    expires_at: int

    @property
    def is_admin(self) -> bool:
        """Tell whether the token opens the administrators' routes."""
        return self.kind is TokenKind.ACCOUNT and "manager" in self.audience


def digest(text: str) -> str:
    """Return the SHA-256 of a text in hex: the only form in which a token is kept."""
    return hashlib.sha256(as_bytes(text)).hexdigest()


class TokenStore:
    """Signs tokens with a key made at each start and knows all that it issued.

    A token is looked up by its digest, so anything that was not issued here is a forgery, whatever
    its signature says.
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
        """Return how long a new token of the kind lives, in seconds."""
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
        """Make a token.

        :param kind: What it is for.
        :param user_id: Whose it is.
        :param client_id: The client key that it was minted from.
        :param manager: Whether it opens the administrators' routes.
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
        """Return what the token stands for; None if it was not issued here."""
        return self._grants.get(digest(token))

    def state(self, grant: Grant) -> TokenState:
        """Tell whether the grant still holds."""
        if grant.id in self._revoked:
            return TokenState.REVOKED
        return TokenState.LIVE if self._clock.now() < grant.expires_at else TokenState.EXPIRED

    def revoke(self, grant: Grant) -> None:
        """End one grant at once."""
        self._revoked.add(grant.id)

    def revoke_all(self, *kinds: TokenKind, client_id: str | None = None) -> int:
        """End all live grants of the kinds and return how many there were.

        :param client_id: Only those minted from this client key.
        """
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
