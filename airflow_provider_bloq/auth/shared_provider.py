"""What one look at the shared token shows, and what is said where it shows nothing that is of use."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.auth.shared_store import LEASE_SECONDS, Lease, SharedToken, Slot
from airflow_provider_bloq.auth.token import AccessToken, issue_time_of
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider, TokenProvider
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqSharedTokenStale,
    BloqVaultUnavailable,
)
from airflow_provider_bloq.flow.effects import Flow, emit, mask, sleep
from airflow_provider_bloq.flow.events import Event, duration

__all__ = [
    "KeepFreshResult",
    "SharedStore",
    "SharedTokenProvider",
    "SharedTokenState",
    "TokenRequirement",
    "may_use",
    "stale",
    "unreachable",
]


@dataclass(frozen=True, slots=True)
class SharedTokenState:
    """The shared token at one look.

    :param version: Version of the slot.
    :param token: The token, dated on this process's clock; None where there is none.
    :param client_id: Client ID that it was minted from.
    :param key_version: KV version of the client keys that it was minted from; None without versions.
    :param age: Its age in seconds, by the store's clock.
    :param lifetime: How long it lives from when it was written, in seconds.
    :param renewed: Whether it was made by this process just now.
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
    """Which token is looked for.

    :param is_enough: Whether a living one will do.
    :param refused: One that will not, since a service refused it.
    """

    is_enough: Callable[[SharedTokenState, AccessToken], bool]
    refused: Secret | None = None

    def is_met_by(self, seen: SharedTokenState) -> bool:
        """Tell whether a look showed it."""
        return seen.token is not None and self.is_enough(seen, seen.token)


def unreachable(failure: BloqVaultUnavailable, max_wait: float) -> BloqVaultUnavailable:
    """Say that Vault could not be reached as long as anybody waited.

    :param failure: How the last try failed.
    :param max_wait: For how many seconds it was tried.
    """
    return BloqVaultUnavailable(
        f"{failure}. No access token could be had through it for {max_wait:.0f} s: see that Vault is up and"
        " unsealed and can be reached from here; then the task can be tried again as it is."
    )


def stale(seen: SharedTokenState, where: str, max_wait: float) -> BloqSharedTokenStale:
    """Say that a reader found no token that is good, and whose it is to write one.

    :param seen: The last look.
    :param where: Names the place.
    :param max_wait: For how many seconds a newer one was waited for.
    """
    if seen.age is None:
        problem = f"{where} holds no access token"
        broker = "a task with BloqTokenBrokerOperator"
    else:
        end = "was refused" if seen.age < seen.lifetime else f"lived {seen.lifetime:.0f} s"
        problem = (
            f"{where} holds no access token that is good: version {seen.version}, minted from client ID"
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


def may_use(
    seen: SharedTokenState,
    need: TokenRequirement,
    minter: ClientKeysTokenProvider,
    known: str | None,
    where: str,
) -> Flow[bool]:
    """Tell whether a member may use a living token, or renews it with its own keys instead.

    One of another version of the keys is used on, since they were rotated. Keys without versions give no such sign:
    there another client ID is taken for a rotation, and the token is renewed.

    :param seen: The token.
    :param need: What it is wanted for.
    :param minter: The member's ladder.
    :param known: The member's client ID, as far as it is known.
    :param where: Names where the token is shared, for the error.
    :raises BloqConfigurationError: It would do, but is of other keys of the same version.
    """
    if known in (None, seen.client_id) or minter.key_version != seen.key_version:
        return True
    if not minter.has_keys:
        # What the connection was read with: only the reading after that is a new one.
        yield from minter.read_keys()
    # The keys may have been changed where they come from since they were read here.
    reading = yield from minter.read_keys()
    if reading.keys.client_id == seen.client_id or reading.version != seen.key_version:
        return True
    if reading.version is None or not need.is_met_by(seen):
        return False
    raise BloqConfigurationError.of(
        "shared_vault_path",
        f"the token in {where} was minted from client ID {(seen.client_id or '')[:80]!r}, the connection has the keys"
        f" of {reading.keys.client_id!r}",
        "Give each pair of client keys a shared_vault_path of its own",
    )


#: Bounds of the pause before the shared path is read again, in seconds: from the least to a random
#: part of what doubles with each look, up to the cap.
_LEAST_PAUSE = 0.2
_PAUSE_BASE = 0.5
_PAUSE_CAP = 6.0


@dataclass(frozen=True, slots=True)
class SharedStore:
    """Where a fleet shares its token.

    :param token: The token.
    :param lease: The right to renew it.
    """

    token: Slot
    lease: Slot


@dataclass(frozen=True, slots=True)
class KeepFreshResult:
    """What keeping the shared token fresh came to.

    :param version: Version of the shared token; None where this one could not be written.
    :param expires_in: Seconds that it still lives.
    :param renewed: Whether it was renewed by this call.
    """

    version: int | None
    expires_in: float
    renewed: bool


class SharedTokenProvider(TokenProvider):
    """Holds the token that a fleet shares.

    A *member* has client keys and renews the shared token, one at a time in the whole fleet; a *reader*
    has none and waits for members. While the shared token is fresh, one read is all that either does.

    Who holds a living token goes on with it, whatever happens to the store or to Accounts. A member that
    needs one and can neither read one nor become the one to renew within its patience mints for itself
    at last.

    :param store: Where the token is shared.
    :param accounts_url: The connection's Accounts: tokens of another are refused.
    :param minter: The ladder by which a member gets a new token; None makes a reader.
    :param client_id: The member's client ID, where it is known before the keys are read.
    :param max_wait: How long a needed token is waited for, in seconds.
    :param lease_seconds: How long one member may take to renew before another does.
    :param clock: Monotonic clock, in seconds.
    :param random: Gives a number from 0 to 1, for jitter.
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
        """Drop the token, the keys, and whatever was under way. For a forked child."""
        super().forget()
        self._slot.forget()
        self._lease.forget()
        if self._minter is not None:
            self._minter.forget()

    def _start_empty(self) -> None:
        super()._start_empty()
        # One draw per process: all look at the same token, and should not come to renew it as one.
        self._jitter = self._random()

    def keep_fresh(
        self, valid_for: float, refuses: Callable[[AccessToken], Flow[bool]] | None = None
    ) -> Flow[KeepFreshResult]:
        """Renew the shared token unless it still lives long enough, and is of the keys as they are now. For a member.

        :param valid_for: For how many seconds from now it has to be good.
        :param refuses: Asks a service whether it refuses the token; one that does is renewed as well.
        :raises BloqError: As :meth:`token`.
        """
        # Read anew: a pair that replaced another may have taken that one's tokens with it, or soon will.
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
        """Learn from a refusal; see :meth:`.TokenSupply.doubt`."""
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
        """Get a token that lives, within the patience; one that is not enough only if there is no better."""
        give_up_at = self._clock() + self._max_wait
        seen, failure, looks = SharedTokenState(None), None, 0
        while True:
            looks += 1
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
            pause = _LEAST_PAUSE + self._random() * min(_PAUSE_CAP, _PAUSE_BASE * 2.0**looks)
            yield from sleep(min(pause, left))
        if self._minter is not None:
            try:
                return (yield from self._mint_locally(self._minter, seen))
            except BloqVaultUnavailable as error:
                failure = error
        if failure is not None:
            raise unreachable(failure, self._max_wait)
        raise stale(seen, self._slot.description, self._max_wait)

    def _attempt(self, need: TokenRequirement, *, early: bool = False) -> Flow[SharedTokenState]:
        """Look at the shared token and, where it is not enough, renew it if that falls to this process.

        :param need: Which one is looked for.
        :param early: Whether a living token is held, so that nothing is waited for.
        :return: What was seen; its token is None where that is dead or was refused.
        """
        seen = yield from self._look(need)
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
                    f"The shared access token could not be renewed ({error}); it still lives.",
                    logging.WARNING,
                )
            )
            return seen
        return renewed or seen

    def _renew_for_all(
        self, minter: ClientKeysTokenProvider, need: TokenRequirement, *, retry: bool
    ) -> Flow[SharedTokenState | None]:
        """Renew the shared token, if no other member is at it.

        The lease is given back when all went well. After a failure it is left to run out: so does the
        whole fleet pause before the next try.
        """
        taken = yield from self._lease.take()
        if taken is None:
            return None
        # Between the look and the lease, the one before may have been done with it.
        seen = yield from self._look(need)
        if not need.is_met_by(seen):
            token = yield from minter.renew(retry=retry)
            seen = yield from self._publish(minter, token, after=seen.version)
        try:
            yield from self._lease.give_back(taken)
        except BloqVaultUnavailable as error:
            yield from emit(
                Event("token.lease_kept", f"The lease is not given back ({error}); it runs out by itself.")
            )
        return seen

    def _mint_locally(
        self, minter: ClientKeysTokenProvider, seen: SharedTokenState
    ) -> Flow[SharedTokenState]:
        yield from emit(
            Event(
                "token.missed",
                f"No access token came to {self._slot.description} within {self._max_wait:.0f} s;"
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
                    f"The new access token serves this process only, it could not be shared: {error}",
                    logging.WARNING,
                )
            )
        else:
            yield from emit(
                Event(
                    "token.outpaced",
                    "Another member was faster; the new access token serves this process only.",
                    logging.INFO,
                )
                if version is None
                else Event("token.shared", f"Shared access token renewed, version {version}")
            )
        return SharedTokenState(
            version, token, shared.client_id, shared.key_version, 0.0, shared.lifetime, renewed=True
        )

    def _look(self, need: TokenRequirement) -> Flow[SharedTokenState]:
        asked = self._clock()
        record = yield from self._slot.read()
        if record.fields is None:
            return SharedTokenState(record.version)
        shared = SharedToken.of(record, self._slot.description)
        yield from mask(shared.secret)
        shared.require_accounts(self._accounts_url, self._slot.description)
        # Vault's clock says how old it is, the monotonic clock goes on from there.
        left = shared.lifetime - min(max(record.age, 0.0), shared.lifetime)
        nothing = SharedTokenState(
            record.version, None, shared.client_id, shared.key_version, record.age, shared.lifetime
        )
        token = AccessToken.ending_at(asked + left, shared.lifetime, shared.secret, lambda: self._jitter)
        if not token.is_alive(self._clock()) or token.secret == need.refused:
            return nothing
        seen = replace(nothing, token=token)
        if self._minter is not None:
            known = self._minter.client_id or self._client_id
            if not (yield from may_use(seen, need, self._minter, known, self._slot.description)):
                return nothing
        return seen

    def _hold(self, seen: SharedTokenState) -> Flow[AccessToken]:
        token = seen.token
        if token is None:
            raise RuntimeError("what is held must be a token")
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
