"""A place in a store that many processes share, which holds one record at a time."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.auth.token import LONGEST_BELIEVED_LIFETIME, token_in
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.flow.effects import Flow

__all__ = [
    "CLOCKS_APART",
    "LEASE_SECONDS",
    "Lease",
    "Record",
    "SharedToken",
    "Slot",
]


@dataclass(frozen=True, slots=True)
class Record:
    """What a slot holds.

    :param version: Counts the writes; a write names the version that it follows. 0 before the first one.
    :param fields: What was written; None where there is nothing, or nothing any more. Left out of the repr.
    :param age: Seconds since it was written, by the store's own clock alone.
    """

    version: int
    fields: Mapping[str, Any] | None = field(default=None, repr=False)
    age: float = 0.0


class Slot(Protocol):
    """One such place."""

    @property
    def description(self) -> str:
        """Name the place for a person; no secret in it."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Tell this place, and whoever acts there, from any other; secrets take part only as digests.

        :raises BloqConfigurationError: The store is set up wrongly.
        """

    def read(self) -> Flow[Record]:
        """Read what it holds now.

        :raises BloqConfigurationError: The store is set up wrongly, or does not permit it.
        :raises BloqVaultUnavailable: The store cannot be reached at present.
        """

    def write(self, fields: Mapping[str, Any], *, after: int) -> Flow[int | None]:
        """Write a record, unless the slot was written since it was read.

        :param fields: The whole record.
        :param after: The version that was read.
        :return: The version that was written; None where another came first.
        :raises BloqConfigurationError: The store is set up wrongly, or does not permit it.
        :raises BloqVaultUnavailable: The store cannot be reached at present; it may have written.
        """

    def forget(self) -> None:
        """Drop whatever makes the next access cheaper. For a forked child."""


@dataclass(frozen=True, slots=True)
class SharedToken:
    """The token, and what it takes to judge it. Refresh token and client keys are never here.

    :param secret: The access token.
    :param lifetime: Seconds that it still had when it was written.
    :param accounts_url: Accounts that it was minted at.
    :param client_id: Client ID that it was minted from.
    :param key_version: KV version of the client keys that it was minted from; None without versions.
    :param minted_at: When it was issued, by the clock of Accounts, in epoch seconds; None where it does
        not say. For people: nothing is decided by it.
    """

    secret: Secret
    lifetime: float
    accounts_url: str
    client_id: str
    key_version: int | None = None
    minted_at: float | None = None

    def fields(self) -> dict[str, Any]:
        """Give the record that is written."""
        return {
            "access_token": self.secret.reveal(),
            "lifetime": self.lifetime,
            "accounts_url": self.accounts_url,
            "client_id": self.client_id,
            "key_version": self.key_version,
            "minted_at": self.minted_at,
        }

    @classmethod
    def of(cls, record: Record, where: str) -> SharedToken:
        """Read a record; whatever does not look like one of :meth:`fields` is refused.

        :param record: What was read.
        :param where: Where it was read, for the error.
        :raises BloqConfigurationError: It is none. No value is quoted: it may be another's secret.
        """
        # Read elsewhere, and by nothing that raises: what shows local variables with a traceback finds none of it.
        token = _read(record)
        if token is None:
            raise BloqConfigurationError.of(
                "shared_vault_path",
                f"{where} holds a secret that is no shared access token",
                "Choose a path that nothing else uses; who has written there can be told from Vault's audit log",
            )
        return token

    def require_accounts(self, accounts_url: str, where: str) -> None:
        """Refuse a token of another Accounts, such as that of the staging environment.

        :raises BloqConfigurationError: It is one.
        """
        if self.accounts_url != accounts_url:
            raise BloqConfigurationError.of(
                "shared_vault_path",
                f"the token in {where} was minted at {self.accounts_url[:200]!r}, the connection names"
                f" {accounts_url!r}",
                "Give each environment a shared_vault_path of its own, or correct the host",
            )


def _read(record: Record) -> SharedToken | None:
    fields = record.fields or {}
    secret, lifetime = token_in(fields, "access_token"), _number(fields.get("lifetime"))
    accounts_url, client_id = fields.get("accounts_url"), fields.get("client_id")
    key_version = fields.get("key_version")
    if (
        secret is None
        or lifetime is None
        or not 0 <= lifetime <= LONGEST_BELIEVED_LIFETIME
        or not isinstance(accounts_url, str)
        or not isinstance(client_id, str)
        or not (key_version is None or isinstance(key_version, int))
    ):
        return None
    minted_at = _number(fields.get("minted_at"))
    return SharedToken(secret, lifetime, accounts_url, client_id, key_version, minted_at)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


#: How long a holder that is heard of no more keeps others from renewing, at least, in seconds.
LEASE_SECONDS = 20.0

#: By how much the clocks of a store's nodes may differ without harm, in seconds.
CLOCKS_APART = 120.0


class Lease:
    """A lease in a slot of its own, taken by check-and-set.

    One has run out when it was not written again while this process has watched it for so long, by its own
    monotonic clock. The age that the store tells is the clock of the node which answers against that of the
    node which wrote: 20 s between these would have every member renew at once. So it counts only where it is
    beyond such a difference, lest tasks that are too short to watch find a dead holder in their way for ever.

    Who was superseded and renews all the same does no harm: of two tokens, only the first that is written
    becomes the shared one.

    :param slot: Where it stands.
    :param seconds: How long it lasts at most; one that claims to last longer is not believed.
    :param clock: Monotonic clock, in seconds.
    """

    def __init__(
        self, slot: Slot, seconds: float = LEASE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._slot = slot
        self._seconds = seconds
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Become another holder. For a forked child."""
        self._holder = secrets.token_hex(8)
        self._watched: tuple[int, float] | None = None
        self._slot.forget()

    def take(self) -> Flow[int | None]:
        """Take the lease, if nobody has it. Whoever has it already may take it again.

        :return: What to give it back with; None where another has it.
        :raises BloqConfigurationError: The slot holds something else, or the store is set up wrongly.
        :raises BloqVaultUnavailable: The store cannot be reached.
        """
        record = yield from self._slot.read()
        if not self._is_free(record):
            return None
        return (yield from self._slot.write(self._record(self._seconds), after=record.version))

    def give_back(self, taken: int) -> Flow[None]:
        """Let others have it before it runs out; one that was superseded is not touched.

        :param taken: What :meth:`take` returned.
        """
        yield from self._slot.write(self._record(0.0), after=taken)

    def _is_free(self, record: Record) -> bool:
        if record.fields is None:
            return True
        holder, seconds = record.fields.get("holder"), record.fields.get("seconds")
        if not isinstance(holder, str) or isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise BloqConfigurationError.of(
                "shared_vault_path",
                f"{self._slot.description} holds a secret that is no lease",
                "Choose a shared_vault_path below which nothing else lies",
            )
        if holder == self._holder:
            return True
        lasts, now = min(float(seconds), self._seconds), self._clock()
        if self._watched is None or self._watched[0] != record.version:
            self._watched = (record.version, now)
        return now - self._watched[1] >= lasts or record.age >= lasts + CLOCKS_APART

    def _record(self, seconds: float) -> dict[str, str | float]:
        return {"holder": self._holder, "seconds": seconds}
