"""Users with their client keys, verification mails and events."""

from __future__ import annotations

import secrets
import uuid
from collections import deque
from dataclasses import dataclass, field

from airflow_provider_bloq.testing.local.errors import LocalBloqNotFound
from airflow_provider_bloq.testing.local.tokens import same_secret

__all__ = [
    "BILLING_FIELDS",
    "AccountEvent",
    "ClientKey",
    "Mail",
    "User",
    "UserDirectory",
]


#: The fields of a billing address.
BILLING_FIELDS = ("address", "zipCode", "state", "country")
_EVENTS_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class ClientKey:
    """Client keys."""

    client_id: str
    client_secret: str = field(repr=False)
    user_id: str
    created_at: float


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """An authenticated call in the list of daily events."""

    id: str
    service: str
    method: str
    path: str
    started_at: float
    ended_at: float
    status: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class Mail:
    """A verification mail, with the token that verifies an account."""

    to: str
    user_id: str
    token: str


@dataclass(slots=True)
class User:
    """An account."""

    id: str
    email: str
    display_name: str
    password: str = field(repr=False)
    manager: bool
    billing_address: dict[str, str]
    created_at: float
    updated_at: float
    verified_at: float | None
    verification_token: str = field(repr=False)
    events: deque[AccountEvent] = field(default_factory=lambda: deque(maxlen=_EVENTS_KEPT), repr=False)

    def has_password(self, password: str) -> bool:
        """Return whether this is the user's password."""
        return same_secret(self.password, password)


class UserDirectory:
    """All users and client keys. Used on the event loop only."""

    def __init__(self) -> None:
        self._users: dict[str, User] = {}
        self._keys: dict[str, ClientKey] = {}
        self.outbox: list[Mail] = []

    def add(
        self,
        email: str,
        password: str,
        *,
        now: float,
        display_name: str = "",
        billing_address: dict[str, str] | None = None,
        manager: bool = False,
        verified: bool = False,
    ) -> User:
        """Create an account and, unless it is verified, put its verification mail into the outbox."""
        user = User(
            id=f"user-{uuid.uuid4()}",
            email=email,
            display_name=display_name or email.partition("@")[0],
            password=password,
            manager=manager,
            billing_address=billing_address or {},
            created_at=now,
            updated_at=now,
            verified_at=now if verified else None,
            verification_token=str(uuid.uuid4()),
        )
        self._users[user.id] = user
        if not verified:
            self.outbox.append(Mail(to=email, user_id=user.id, token=user.verification_token))
        return user

    def find(self, id_or_email: str) -> User | None:
        """Return the user of that id or e-mail address."""
        found = self._users.get(id_or_email)
        if found is not None:
            return found
        wanted = id_or_email.casefold()
        return next((user for user in self._users.values() if user.email.casefold() == wanted), None)

    def require(self, id_or_email: str) -> User:
        """Return the user of that id or e-mail address.

        :raises LocalBloqNotFound: There is none.
        """
        user = self.find(id_or_email)
        if user is None:
            raise LocalBloqNotFound(f"user {id_or_email}")
        return user

    def add_key(self, user: User, now: float) -> ClientKey:
        """Create client keys for the user."""
        key = ClientKey(
            client_id=secrets.token_hex(20),
            client_secret=secrets.token_hex(40),
            user_id=user.id,
            created_at=now,
        )
        self._keys[key.client_id] = key
        return key

    def key(self, client_id: str) -> ClientKey | None:
        """Return the client key of that id, if it has not been deleted."""
        return self._keys.get(client_id)

    def keys_of(self, user_id: str) -> list[ClientKey]:
        """Return the user's client keys, oldest first."""
        return [key for key in self._keys.values() if key.user_id == user_id]

    def remove_key(self, client_id: str) -> None:
        """Delete a client key.

        :raises LocalBloqNotFound: There is no such key.
        """
        if self._keys.pop(client_id, None) is None:
            raise LocalBloqNotFound(f"client key {client_id}")
