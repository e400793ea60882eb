"""Where a fleet shares its token: a slot with versioned writes, the token's record, and the lease to renew it."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.auth.token_provider import LONGEST_BELIEVED_LIFETIME, token_in
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.flow.effects import Flow

__all__ = [
    "CLOCK_TOLERANCE",
    "LEASE_SECONDS",
    "Lease",
    "Record",
    "SharedToken",
    "Slot",
]


@dataclass(frozen=True, slots=True)
class Record:
    """The content of a slot.

    :param version: Counts the writes; 0 before the first. A write names the version that it follows.
    :param fields: What was written; None if there is nothing. Not in ``repr``.
    :param age: Seconds since it was written, by the store's clock.
    """

    version: int
    fields: Mapping[str, Any] | None = field(default=None, repr=False)
    age: float = 0.0


class Slot(Protocol):
    """A place in a store that processes share. It holds one record at a time."""

    @property
    def description(self) -> str:
        """Name of the slot for people; contains no secret."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Identifies this slot and the login that is used; secrets are included only as digests.

        :raises BloqConfigurationError: The store is set up wrongly.
        """

    def read(self) -> Flow[Record]:
        """Read the record.

        :raises BloqConfigurationError: The store is set up wrongly, or does not permit it.
        :raises BloqVaultUnavailable: The store cannot be reached at present.
        """

    def write(self, fields: Mapping[str, Any], *, after: int) -> Flow[int | None]:
        """Write a record, unless the slot was written since it was read.

        :param fields: The whole record.
        :param after: The version that was read.
        :return: The new version; None if another process wrote first.
        :raises BloqConfigurationError: The store is set up wrongly, or does not permit it.
        :raises BloqVaultUnavailable: The store cannot be reached at present; it may have written.
        """

    def forget(self) -> None:
        """Drop whatever is kept to make access cheaper. For a forked child."""


@dataclass(frozen=True, slots=True)
class SharedToken:
    """The shared token with what is needed to judge it; never with a refresh token or client keys.

    :param secret: The access token.
    :param lifetime: Seconds until it expired when it was written.
    :param accounts_url: Accounts that issued it.
    :param client_id: Client ID that it was minted with.
    :param key_version: KV version of those client keys; None without versions.
    :param minted_at: When it was issued, in epoch seconds by the clock of Accounts; None if it does not say. For
        people only.
    """

    secret: Secret
    lifetime: float
    accounts_url: str
    client_id: str
    key_version: int | None = None
    minted_at: float | None = None

    def fields(self) -> dict[str, Any]:
        """Return the record to write."""
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
        """Return the token in a record.

        :param record: The record.
        :param where: Name of the slot, for the error.
        :raises BloqConfigurationError: It holds no token. No value is quoted: it may be another secret.
        """
        # Read in a function that does not raise: some error reporters show local variables with a traceback.
        token = _read(record)
        if token is None:
            raise BloqConfigurationError.of(
                "shared_vault_path",
                f"{where} holds a secret that is not a shared access token",
                "Choose a path that nothing else uses; Vault's audit log shows who wrote there",
            )
        return token

    def require_accounts(self, accounts_url: str, where: str) -> None:
        """Refuse a token of another Accounts, such as that of a staging environment.

        :raises BloqConfigurationError: The token is one.
        """
        if self.accounts_url != accounts_url:
            raise BloqConfigurationError.of(
                "shared_vault_path",
                f"the token in {where} was minted at {self.accounts_url[:200]!r}, but the connection names"
                f" {accounts_url!r}",
                "Give each environment its own shared_vault_path, or correct the host",
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


#: How long a lease lasts if its holder does not give it back, in seconds.
LEASE_SECONDS = 20.0

#: Difference between the clocks of a store's nodes that does no harm, in seconds.
CLOCK_TOLERANCE = 120.0


class Lease:
    """A lease in a separate slot, taken by check-and-set.

    It has expired if this process has watched it unchanged for its duration, by its own monotonic clock. The age that
    the store reports compares the clocks of two of its nodes; if these differ by 20 s, every member would renew at
    once. So the age counts only beyond :data:`CLOCK_TOLERANCE`, for tasks that are too short to watch a lease.

    A superseded holder that still renews does no harm: only the first of two tokens is written.

    :param slot: The slot.
    :param seconds: How long it lasts at most.
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
        """Take the lease if it is free or already held by this process.

        :return: The version to give it back with; None if another process has it.
        :raises BloqConfigurationError: The slot holds something else, or the store is set up wrongly.
        :raises BloqVaultUnavailable: The store cannot be reached.
        """
        record = yield from self._slot.read()
        if not self._is_free(record):
            return None
        return (yield from self._slot.write(self._record(self._seconds), after=record.version))

    def give_back(self, taken: int) -> Flow[None]:
        """Release the lease before it expires, unless it was superseded.

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
                f"{self._slot.description} holds a secret that is not a lease",
                "Choose a shared_vault_path with nothing else below it",
            )
        if holder == self._holder:
            return True
        lasts, now = min(float(seconds), self._seconds), self._clock()
        if self._watched is None or self._watched[0] != record.version:
            self._watched = (record.version, now)
        return now - self._watched[1] >= lasts or record.age >= lasts + CLOCK_TOLERANCE

    def _record(self, seconds: float) -> dict[str, str | float]:
        return {"holder": self._holder, "seconds": seconds}
