"""One access token for a whole fleet: read where it is shared, and renewed by one member for all."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from airflow_provider_bloq.auth.flow import Flow, mask, sleep, tell
from airflow_provider_bloq.auth.ladder import TokenProvider
from airflow_provider_bloq.auth.lease import LEASE_SECONDS, Lease
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.auth.shared_events import (
    LeaseKept,
    Outrun,
    SharedRenewalFailed,
    SharedTokenMissed,
    SharedTokenWritten,
    TokenNotShared,
    TokenTaken,
)
from airflow_provider_bloq.auth.shared_look import Seen, stale, unreachable
from airflow_provider_bloq.auth.shared_token import SharedToken
from airflow_provider_bloq.auth.slot import Slot
from airflow_provider_bloq.auth.supply import TokenSupply
from airflow_provider_bloq.auth.token import AccessToken, issue_time_of
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqVaultUnavailable

__all__ = ["Kept", "SharedStore", "SharedTokenProvider"]

#: Bounds of the pause before the shared path is read again, in seconds: from the least to a random
#: part of what doubles with each look, up to the cap.
_LEAST_PAUSE = 0.2
_PAUSE_BASE = 0.5
_PAUSE_CAP = 6.0

#: Whether a living token will do.
Enough = Callable[[AccessToken], bool]


@dataclass(frozen=True, slots=True)
class SharedStore:
    """Where a fleet shares its token.

    :param token: The token.
    :param lease: The right to renew it.
    """

    token: Slot
    lease: Slot


@dataclass(frozen=True, slots=True)
class Kept:
    """What keeping the shared token fresh came to.

    :param version: Version of the shared token; None where this one could not be written.
    :param expires_in: Seconds that it still lives.
    :param renewed: Whether it was renewed by this call.
    """

    version: int | None
    expires_in: float
    renewed: bool


class SharedTokenProvider(TokenSupply):
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
    :param patience: How long a needed token is waited for, in seconds.
    :param lease_seconds: How long one member may take to renew before another does.
    :param clock: Monotonic clock, in seconds.
    :param random: Gives a number from 0 to 1, for jitter.
    """

    def __init__(
        self,
        store: SharedStore,
        accounts_url: str,
        *,
        minter: TokenProvider | None,
        client_id: str | None = None,
        patience: float,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._slot = store.token
        self._lease = Lease(store.lease, lease_seconds)
        self._accounts_url = accounts_url
        self._minter = minter
        self._client_id = client_id
        self._patience = patience
        super().__init__(clock=clock, random=random)

    @property
    def is_member(self) -> bool:
        """Whether this process may renew the shared token."""
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
        self._refused: Secret | None = None
        # One draw per process: all look at the same token, and should not come to renew it as one.
        self._jitter = self._random()

    def reject(self, secret: Secret, *, at_first_use: bool = False) -> None:
        """Take note that a service refused this token; see :meth:`.TokenSupply.reject`."""
        with self._lock:
            if self._token is not None and self._token.secret == secret:
                self._refused = secret
            super().reject(secret)
        if self._minter is not None:
            self._minter.reject(secret, at_first_use=at_first_use)

    def keep(self, valid_for: float) -> Flow[Kept]:
        """Renew the shared token unless it still lives long enough. For a member.

        :param valid_for: For how many seconds from now it has to be good.
        :raises BloqError: As :meth:`token`.
        """
        seen = yield from self._obtain(lambda token: token.expires_at - self._clock() >= valid_for)
        token = yield from self._hold(seen)
        return Kept(seen.version, token.expires_at - self._clock(), seen.renewed)

    def _renew(self, *, patient: bool) -> Flow[AccessToken]:
        def is_fresh(token: AccessToken) -> bool:
            return token.is_fresh(self._clock())

        if not patient:
            seen = yield from self._attempt(is_fresh, early=True)
            if seen.token is not None:
                return (yield from self._hold(seen))
            held = self._token
            if held is not None:
                return held
        return (yield from self._hold((yield from self._obtain(is_fresh))))

    def _obtain(self, enough: Enough) -> Flow[Seen]:
        """Get a token that lives, within the patience; one that is not enough only if there is no better."""
        give_up_at = self._clock() + self._patience
        seen, failure, looks = Seen(None), None, 0
        while True:
            looks += 1
            try:
                seen = yield from self._attempt(enough)
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
                return (yield from self._fend_for_itself(self._minter, seen))
            except BloqVaultUnavailable as error:
                failure = error
        if failure is not None:
            raise unreachable(failure, self._patience)
        raise stale(seen, self._slot.description, self._patience)

    def _attempt(self, enough: Enough, *, early: bool = False) -> Flow[Seen]:
        """Look at the shared token and, where it is not enough, renew it if that falls to this process.

        :param early: Whether a living token is held, so that nothing is waited for.
        :return: What was seen; its token is None where that is dead or was refused.
        """
        seen = yield from self._look()
        if self._minter is None or (seen.token is not None and enough(seen.token)):
            return seen
        try:
            renewed = yield from self._renew_for_all(
                self._minter, enough, patient=not early and seen.token is None
            )
        except Exception as error:
            if early or seen.token is None:
                raise
            yield from tell(SharedRenewalFailed(str(error)))
            return seen
        return renewed or seen

    def _renew_for_all(self, minter: TokenProvider, enough: Enough, *, patient: bool) -> Flow[Seen | None]:
        """Renew the shared token, if no other member is at it.

        The lease is given back when all went well. After a failure it is left to run out: so does the
        whole fleet pause before the next try.
        """
        taken = yield from self._lease.take()
        if taken is None:
            return None
        # Between the look and the lease, the one before may have been done with it.
        seen = yield from self._look()
        if seen.token is None or not enough(seen.token):
            token = yield from minter.renew(patient=patient)
            seen = yield from self._publish(minter, token, after=seen.version)
        try:
            yield from self._lease.give_back(taken)
        except BloqVaultUnavailable as error:
            yield from tell(LeaseKept(str(error)))
        return seen

    def _fend_for_itself(self, minter: TokenProvider, seen: Seen) -> Flow[Seen]:
        yield from tell(SharedTokenMissed(self._slot.description, self._patience))
        token = yield from minter.renew(patient=True)
        if seen.version is None:
            return Seen(None, token, renewed=True)
        return (yield from self._publish(minter, token, after=seen.version))

    def _publish(self, minter: TokenProvider, token: AccessToken, after: int | None) -> Flow[Seen]:
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
            yield from tell(TokenNotShared(str(error)))
        else:
            yield from tell(Outrun() if version is None else SharedTokenWritten(version))
        return Seen(version, token, shared.client_id, 0.0, shared.lifetime, renewed=True)

    def _look(self) -> Flow[Seen]:
        asked = self._clock()
        record = yield from self._slot.read()
        if record.fields is None:
            return Seen(record.version)
        shared = SharedToken.from_fields(record.fields, self._slot.description)
        yield from mask(shared.secret)
        shared.require_accounts(self._accounts_url, self._slot.description)
        yield from self._require_client(shared)
        # Vault's clock says how old it is, the monotonic clock goes on from there.
        left = shared.lifetime - min(max(record.age, 0.0), shared.lifetime)
        seen = Seen(record.version, None, shared.client_id, record.age, shared.lifetime)
        token = AccessToken.ending_at(asked + left, shared.lifetime, shared.secret, lambda: self._jitter)
        usable = token.is_alive(self._clock()) and token.secret != self._refused
        return replace(seen, token=token) if usable else seen

    def _require_client(self, shared: SharedToken) -> Flow[None]:
        """Refuse a token of another account than that of the member's own keys.

        Another version of the keys is a rotation, and no reason to.
        """
        minter = self._minter
        if minter is None:
            return
        known = minter.client_id or self._client_id
        if known in (None, shared.client_id) or minter.key_version != shared.key_version:
            return
        # The keys may have been changed where they come from since they were read here.
        reading = yield from minter.read_keys()
        if reading.keys.client_id != shared.client_id and reading.version == shared.key_version:
            raise BloqConfigurationError.of(
                "shared_vault_path",
                f"the token in {self._slot.description} was minted from client ID {shared.client_id[:80]!r}, the"
                f" connection has the keys of {reading.keys.client_id!r}",
                "Give each pair of client keys a shared_vault_path of its own",
            )

    def _hold(self, seen: Seen) -> Flow[AccessToken]:
        token = seen.token
        if token is None:
            raise RuntimeError("what is held must be a token")
        with self._lock:
            is_new = self._token is None or self._token.secret != token.secret
            self._token = token
        if is_new and not seen.renewed:
            yield from tell(TokenTaken(token.expires_at - self._clock(), seen.version))
        return token
