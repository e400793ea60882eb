"""The token provider of a fleet that shares one token."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.auth.shared_token_store import LEASE_SECONDS, Lease, SharedToken, Slot
from airflow_provider_bloq.auth.token_provider import (
    AccessToken,
    ClientKeysTokenProvider,
    TokenProvider,
    issue_time_of,
)
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqSharedTokenStale,
    BloqVaultUnavailable,
)
from airflow_provider_bloq.flow.backoff import exponential
from airflow_provider_bloq.flow.effects import Flow, emit, mask, sleep
from airflow_provider_bloq.flow.events import Event, duration

__all__ = [
    "KeepFreshResult",
    "SharedStore",
    "SharedTokenProvider",
    "SharedTokenState",
    "TokenRequirement",
]


@dataclass(frozen=True, slots=True)
class SharedTokenState:
    """The shared token as it was read.

    :param version: Version of the slot.
    :param token: The token, with times on this process's clock; None if there is no usable one.
    :param client_id: Client ID that it was minted with.
    :param key_version: KV version of those client keys; None without versions.
    :param age: Its age in seconds, by the store's clock.
    :param lifetime: Its lifetime when it was written, in seconds.
    :param renewed: Whether this process has just minted it.
    """

    version: int | None
    token: AccessToken | None = None
    client_id: str | None = None
    key_version: int | None = None
    age: float | None = None
    lifetime: float = 0.0
    renewed: bool = False


@dataclass(frozen=True, slots=True)
class TokenRequirement:
    """Which token is needed.

    :param is_enough: Whether a valid token will do.
    :param refused: A token that will not do, since a service refused it.
    """

    is_enough: Callable[[SharedTokenState, AccessToken], bool]
    refused: Secret | None = None

    def is_met_by(self, seen: SharedTokenState) -> bool:
        """Return whether the shared token meets it."""
        return seen.token is not None and self.is_enough(seen, seen.token)


def _unreachable(failure: BloqVaultUnavailable, max_wait: float) -> BloqVaultUnavailable:
    """Return the error for a Vault that could not be reached.

    :param failure: The error of the last attempt.
    :param max_wait: How long it was tried, in seconds.
    """
    return BloqVaultUnavailable(
        f"{failure}. No access token could be got through it for {max_wait:.0f} s: see that Vault is up and"
        " unsealed and can be reached from here; then the task can be tried again as it is."
    )


def _stale(seen: SharedTokenState, where: str, max_wait: float) -> BloqSharedTokenStale:
    """Return the error for a reader that found no valid token; it names who should write one."""
    if seen.age is None:
        problem = f"{where} holds no access token"
        broker = "a task with BloqTokenBrokerOperator"
    else:
        end = "was refused" if seen.age < seen.lifetime else f"lived {seen.lifetime:.0f} s"
        problem = (
            f"{where} holds no valid access token: version {seen.version}, minted from client ID"
            f" {seen.client_id}, is {seen.age:.0f} s old and {end}"
        )
        broker = f"the BloqTokenBrokerOperator of client ID {seen.client_id}"
    return BloqSharedTokenStale(
        f"{problem}. No newer one came within {max_wait:.0f} s. This connection may only read it: see that"
        f" {broker}, or another member of the fleet, runs and can write there.",
        path=where,
        client_id=seen.client_id,
        age=seen.age,
    )


def _may_use(
    seen: SharedTokenState,
    need: TokenRequirement,
    minter: ClientKeysTokenProvider,
    known: str | None,
    where: str,
) -> Flow[bool]:
    """Return whether a member may use a valid token; if not, it renews the token with its own keys.

    A token of another version of the keys is used, since the keys were rotated. If keys have no versions, another
    client ID counts as a rotation, and the token is renewed.

    :param seen: The token.
    :param need: Which token is needed.
    :param minter: Has the member's keys.
    :param known: The member's client ID, if known.
    :param where: Name of the slot, for the error.
    :raises BloqConfigurationError: It meets the need but belongs to other keys of the same version.
    """
    if known in (None, seen.client_id) or minter.key_version != seen.key_version:
        return True
    if not minter.has_keys:
        # The first read gives the keys of the connection as it was; only the next is a new one.
        yield from minter.read_keys()
    # The keys may have changed at their source since they were read.
    reading = yield from minter.read_keys()
    if reading.keys.client_id == seen.client_id or reading.version != seen.key_version:
        return True
    if reading.version is None or not need.is_met_by(seen):
        return False
    raise BloqConfigurationError.of(
        "shared_vault_path",
        f"the token in {where} was minted from client ID {(seen.client_id or '')[:80]!r}, the connection has the keys"
        f" of {reading.keys.client_id!r}",
        "Give each pair of client keys its own shared_vault_path",
    )


#: The pause before the shared path is read again, in seconds: the shortest, plus a random part of what doubles with
#: each read, up to the cap.
_SHORTEST_PAUSE = 0.2
_FIRST_PAUSE = 1.0
_PAUSE_CAP = 6.0


@dataclass(frozen=True, slots=True)
class SharedStore:
    """The slots of a fleet.

    :param token: The slot of the shared token.
    :param lease: The slot of the lease to renew it.
    """

    token: Slot
    lease: Slot


@dataclass(frozen=True, slots=True)
class KeepFreshResult:
    """The result of :meth:`SharedTokenProvider.keep_fresh`.

    :param version: Version of the shared token; None if it could not be written.
    :param expires_in: Seconds until it expires.
    :param renewed: Whether this call renewed it.
    """

    version: int | None
    expires_in: float
    renewed: bool


class SharedTokenProvider(TokenProvider):
    """Holds the token that a fleet shares.

    A *member* has client keys and renews the shared token, one member at a time; a *reader* has none and waits for
    members. While the shared token is fresh, both only read it once.

    A process that holds a valid token keeps using it, whatever happens to the store or to Accounts. A member that needs
    a token but can neither read one nor take the lease in time finally mints one for itself.

    :param store: Where the token is shared.
    :param accounts_url: The connection's Accounts; tokens of another Accounts are refused.
    :param minter: Gets new tokens for a member; None for a reader.
    :param client_id: The member's client ID, if it is known before the keys are read.
    :param max_wait: How long to wait for a needed token, in seconds.
    :param lease_seconds: How long a member may take to renew before another does.
    :param clock: Monotonic clock, in seconds.
    :param random: Returns a number from 0 to 1, for jitter.
    """

    def __init__(
        self,
        store: SharedStore,
        accounts_url: str,
        *,
        minter: ClientKeysTokenProvider | None,
        client_id: str | None = None,
        max_wait: float,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._slot = store.token
        self._lease = Lease(store.lease, lease_seconds, clock)
        self._accounts_url = accounts_url
        self._minter = minter
        self._client_id = client_id
        self._max_wait = max_wait
        super().__init__(clock=clock, random=random)

    @property
    def can_renew(self) -> bool:
        """Whether this process is a member."""
        return self._minter is not None

    def forget(self) -> None:
        """Drop the token, the keys and a running renewal. For a forked child."""
        super().forget()
        self._slot.forget()
        self._lease.forget()
        if self._minter is not None:
            self._minter.forget()

    def _start_empty(self) -> None:
        super()._start_empty()
        # Drawn once per process: all read the same token, and should not renew it at the same time.
        self._jitter = self._random()

    def keep_fresh(
        self, valid_for: float, refuses: Callable[[AccessToken], Flow[bool]] | None = None
    ) -> Flow[KeepFreshResult]:
        """Renew the shared token unless it is valid long enough and was minted with the current keys. For a member.

        :param valid_for: How long it has to be valid from now, in seconds.
        :param refuses: Asks a service whether it refuses the token, which is then renewed as well.
        :raises BloqError: As :meth:`token`.
        """
        # Read again: replacing a pair of keys may revoke the tokens of the old pair.
        reading = (yield from self._minter.read_keys()) if self._minter is not None else None

        def is_enough(seen: SharedTokenState, token: AccessToken) -> bool:
            is_current = reading is None or (
                (seen.client_id, seen.key_version) == (reading.keys.client_id, reading.version)
            )
            return is_current and token.expires_at - self._clock() >= valid_for

        need = TokenRequirement(is_enough)
        seen = yield from self._obtain(need)
        token = yield from self._hold(seen)
        if refuses is not None and not seen.renewed and (yield from refuses(token)):
            seen = yield from self._obtain(replace(need, refused=token.secret))
            token = yield from self._hold(seen)
        return KeepFreshResult(seen.version, token.expires_at - self._clock(), seen.renewed)

    def on_refusal(self, refused: Secret, *, at_first_use: bool) -> None:
        if self._minter is not None:
            self._minter.on_refusal(refused, at_first_use=at_first_use)

    def _renew(self, *, retry: bool, refused: Secret | None = None) -> Flow[AccessToken]:
        need = TokenRequirement(lambda _, token: token.is_fresh(self._clock()), refused)
        if not retry:
            seen = yield from self._attempt(need, early=True)
            if seen.token is not None:
                return (yield from self._hold(seen))
            held = self._token
            if held is not None:
                return held
        return (yield from self._hold((yield from self._obtain(need))))

    def _obtain(self, need: TokenRequirement) -> Flow[SharedTokenState]:
        """Get a valid token within ``max_wait``; one that does not meet the need only if there is no better."""
        give_up_at = self._clock() + self._max_wait
        seen, failure, reads = SharedTokenState(None), None, 0
        while True:
            reads += 1
            try:
                seen = yield from self._attempt(need)
                if seen.token is not None:
                    return seen
                failure = None
            except BloqVaultUnavailable as error:
                failure = error
            left = give_up_at - self._clock()
            if left <= 0:
                break
            pause = _SHORTEST_PAUSE + self._random() * exponential(_FIRST_PAUSE, _PAUSE_CAP, reads)
            yield from sleep(min(pause, left))
        if self._minter is not None:
            try:
                return (yield from self._mint_locally(self._minter, seen))
            except BloqVaultUnavailable as error:
                failure = error
        if failure is not None:
            raise _unreachable(failure, self._max_wait)
        raise _stale(seen, self._slot.description, self._max_wait)

    def _attempt(self, need: TokenRequirement, *, early: bool = False) -> Flow[SharedTokenState]:
        """Read the shared token and, if it does not meet the need, renew it if this process gets the lease.

        :param need: Which token is needed.
        :param early: Whether a valid token is held, so that nothing has to be waited for.
        :return: The shared token; its ``token`` is None if it has expired or was refused.
        """
        seen = yield from self._read(need)
        if self._minter is None or need.is_met_by(seen):
            return seen
        try:
            renewed = yield from self._renew_for_all(
                self._minter, need, retry=not early and seen.token is None
            )
        except Exception as error:
            if early or seen.token is None:
                raise
            yield from emit(
                Event(
                    "token.shared_renewal_failed",
                    f"The shared access token could not be renewed ({error}); it is still valid.",
                    logging.WARNING,
                )
            )
            return seen
        return renewed or seen

    def _renew_for_all(
        self, minter: ClientKeysTokenProvider, need: TokenRequirement, *, retry: bool
    ) -> Flow[SharedTokenState | None]:
        """Renew the shared token, unless another member does.

        After a failure the lease is left to expire, so that the whole fleet pauses before the next attempt.
        """
        taken = yield from self._lease.take()
        if taken is None:
            return None
        # The previous holder may have renewed it meanwhile.
        seen = yield from self._read(need)
        if not need.is_met_by(seen):
            token = yield from minter.renew(retry=retry)
            seen = yield from self._publish(minter, token, after=seen.version)
        try:
            yield from self._lease.give_back(taken)
        except BloqVaultUnavailable as error:
            yield from emit(
                Event("token.lease_kept", f"The lease was not released ({error}); it will expire.")
            )
        return seen

    def _mint_locally(
        self, minter: ClientKeysTokenProvider, seen: SharedTokenState
    ) -> Flow[SharedTokenState]:
        yield from emit(
            Event(
                "token.missed",
                f"No access token arrived at {self._slot.description} within {self._max_wait:.0f} s;"
                " getting one for this process.",
                logging.WARNING,
            )
        )
        token = yield from minter.renew(retry=True)
        if seen.version is None:
            return SharedTokenState(None, token, renewed=True)
        return (yield from self._publish(minter, token, after=seen.version))

    def _publish(
        self, minter: ClientKeysTokenProvider, token: AccessToken, after: int | None
    ) -> Flow[SharedTokenState]:
        shared = SharedToken(
            secret=token.secret,
            lifetime=max(0.0, token.expires_at - self._clock()),
            accounts_url=self._accounts_url,
            client_id=minter.client_id or "",
            key_version=minter.key_version,
            minted_at=issue_time_of(token.secret),
        )
        version = None
        try:
            version = yield from self._slot.write(shared.fields(), after=after or 0)
        except BloqVaultUnavailable as error:
            yield from emit(
                Event(
                    "token.not_shared",
                    f"The new access token could not be shared and is used by this process only: {error}",
                    logging.WARNING,
                )
            )
        else:
            yield from emit(
                Event(
                    "token.outpaced",
                    "Another member was faster; the new access token is used by this process only.",
                    logging.INFO,
                )
                if version is None
                else Event("token.shared", f"Shared access token renewed, version {version}")
            )
        return SharedTokenState(
            version, token, shared.client_id, shared.key_version, 0.0, shared.lifetime, renewed=True
        )

    def _read(self, need: TokenRequirement) -> Flow[SharedTokenState]:
        started = self._clock()
        record = yield from self._slot.read()
        if record.fields is None:
            return SharedTokenState(record.version)
        shared = SharedToken.of(record, self._slot.description)
        yield from mask(shared.secret)
        shared.require_accounts(self._accounts_url, self._slot.description)
        # The age is by Vault's clock; from here on the monotonic clock counts.
        left = shared.lifetime - min(max(record.age, 0.0), shared.lifetime)
        unusable = SharedTokenState(
            record.version, None, shared.client_id, shared.key_version, record.age, shared.lifetime
        )
        token = AccessToken.ending_at(started + left, shared.lifetime, shared.secret, lambda: self._jitter)
        if not token.is_alive(self._clock()) or token.secret == need.refused:
            return unusable
        seen = replace(unusable, token=token)
        if self._minter is not None:
            known = self._minter.client_id or self._client_id
            if not (yield from _may_use(seen, need, self._minter, known, self._slot.description)):
                return unusable
        return seen

    def _hold(self, seen: SharedTokenState) -> Flow[AccessToken]:
        token = seen.token
        if token is None:
            raise RuntimeError("there is no token to hold")
        with self._lock:
            is_new = self._token is None or self._token.secret != token.secret
            self._token = token
        if is_new and not seen.renewed:
            lives = duration(token.expires_at - self._clock())
            version = f", version {seen.version}" if seen.version is not None else ""
            yield from emit(
                Event(
                    "token.taken",
                    f"Access token taken from the shared path, lives {lives}{version}",
                    logging.INFO,
                )
            )
        return token
