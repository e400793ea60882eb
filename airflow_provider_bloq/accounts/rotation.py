"""Those that a rotation deals with: Accounts, Vault and the journal, each behind a flow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from typing import Any

from airflow_provider_bloq.accounts.client import (
    AccountLogin,
    AccountsTokenEndpoint,
    ClientKeysApi,
    KeyListing,
    ListedKeys,
)
from airflow_provider_bloq.accounts.rotation_journal import RotationEntry, RotationJournal, RotationPhase
from airflow_provider_bloq.auth.credentials import ClientKeys
from airflow_provider_bloq.auth.token_provider import GrantRefused
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqError,
    BloqRotationDisputed,
    BloqRotationError,
    BloqRotationHalted,
    BloqRotationOvertaken,
    BloqVaultUnavailable,
)
from airflow_provider_bloq.flow.effects import Flow, mask, run_blocking, sleep
from airflow_provider_bloq.flow.lost_creates import epoch_seconds, may_have_created, may_have_made
from airflow_provider_bloq.flow.retry import RetryPolicy
from airflow_provider_bloq.vault.kv import WriteConflict
from airflow_provider_bloq.vault.rotation import RotationVault, StoredKeys

__all__ = [
    "SKEW",
    "Attribution",
    "GracePeriod",
    "RotationContext",
    "RotationOptions",
    "RotationOutcome",
    "advance",
    "attribute_key",
    "complete",
    "dispute",
    "plan",
    "remove_unnamed",
    "replace_keys",
    "require_own_keys",
    "settle_named",
]


@dataclass(frozen=True, slots=True)
class RotationOptions:
    """How a rotation is to be done.

    :param grace: Seconds during which both pairs work.
    :param settle_seconds: Seconds after which a request to Accounts has surely come to its end.
    :param generation: Tells the tries of one run from those after a clear: the task's ``max_tries``, which every
        clear raises.
    :param policy: How patiently requests, proofs and writes are repeated.
    :param clock: Gives the time in epoch seconds.
    """

    grace: float
    settle_seconds: float
    generation: int
    policy: RetryPolicy
    clock: Callable[[], float] = time.time


class RotationContext:
    """Opens what it needs at first use, and forgets it with itself: make one for each stretch of work.

    :param accounts_url: Base URL of Accounts.
    :param vault: The two secrets in Vault.
    :param journal: The journal of this rotation.
    :param options: How the rotation is to be done.
    """

    def __init__(
        self, *, accounts_url: str, vault: RotationVault, journal: RotationJournal, options: RotationOptions
    ) -> None:
        self.options = options
        self.vault = vault
        self.accounts_url = accounts_url
        self._journal = journal
        self._tokens = AccountsTokenEndpoint(accounts_url, options.policy)
        self._account: ClientKeysApi | None = None

    def place(self) -> Flow[str]:
        """Name what is rotated: Accounts, and the secret in Vault."""
        secret = yield from run_blocking(self.vault.place)
        return f"{self.accounts_url} -> {secret}"

    def entry(self) -> Flow[RotationEntry | None]:
        """Read the journal."""
        value = yield from run_blocking(self._journal.read)
        return None if value is None else RotationEntry.from_json(value)

    def note(self, entry: RotationEntry) -> Flow[None]:
        """Write the journal; it is safe when this has ended."""
        yield from run_blocking(partial(self._journal.write, entry.to_json()))

    def forget(self) -> Flow[None]:
        """Empty the journal: nothing is under way any more."""
        yield from run_blocking(self._journal.clear)

    def read_keys(self) -> Flow[StoredKeys]:
        """Read what Vault holds now, and have its secret masked."""
        stored = yield from run_blocking(self.vault.read_keys)
        yield from mask(stored.keys.client_secret)
        return stored

    def list_keys(self) -> Flow[KeyListing]:
        """List the account's pairs."""
        account = yield from self._logged_in()
        return (yield from ClientKeysApi.list.flow(account))

    def create_keys(self) -> Flow[ClientKeys]:
        """Make a pair; raises as :meth:`~..clients.client_keys.ClientKeysApi.create`."""
        account = yield from self._logged_in()
        return (yield from ClientKeysApi.create.flow(account))

    def delete_keys(self, client_id: str) -> Flow[None]:
        """Delete a pair; one that is gone already is no error."""
        account = yield from self._logged_in()
        yield from ClientKeysApi.delete.flow(account, client_id)

    def is_accepted(self, keys: ClientKeys) -> Flow[bool]:
        """Tell whether Accounts mints a token for this pair now."""
        try:
            yield from self._tokens.mint(keys, retry=True)
        except GrantRefused as refusal:
            if refusal.error is not None:
                # Such as the page of a firewall, which has not looked at the keys.
                raise refusal.error from None
            return False
        return True

    def is_proved(self, keys: ClientKeys) -> Flow[bool]:
        """Tell whether Accounts mints for this pair within a few seconds: one just made may need them."""
        for attempt in count(1):
            if (yield from self.is_accepted(keys)):
                return True
            pause = self.options.policy.pause(attempt, None)
            if pause is None:
                break
            yield from sleep(pause)
        return False

    def served_at(self, listing: KeyListing) -> float:
        """Return when a list was served: by Accounts' clock, or by this machine's where it does not say."""
        return listing.served_at if listing.served_at is not None else self.options.clock()

    def grace_end(self) -> float:
        """Return when a grace period ends that begins now, in epoch seconds."""
        return self.options.clock() + self.options.grace

    def _logged_in(self) -> Flow[ClientKeysApi]:
        if self._account is None:
            user, password = yield from run_blocking(self.vault.read_login)
            yield from mask(password)
            login = AccountLogin(user, password, self.vault.account_description)
            self._account = ClientKeysApi(url=self.accounts_url, login=login, policy=self.options.policy)
        return self._account


#: By how many seconds the clocks of Accounts' machines may differ; its Date header has whole seconds.
SKEW = 5.0


@dataclass(frozen=True, slots=True)
class Attribution:
    """What a create whose answer was lost may have made.

    :param own: The pair that it certainly made; None if it made none, or if that is uncertain.
    :param candidates: If it is uncertain, every pair that it may have made.
    """

    own: ListedKeys | None = None
    candidates: tuple[ListedKeys, ...] = ()


def attribute_key(
    listing: KeyListing, *, known: Collection[str], in_vault: str, begun_at: float, settle_seconds: float
) -> Attribution:
    """Find the pair that a create whose answer was lost has made.

    It is certain if exactly one pair is new since the list before the create, was created while the create can
    have been under way, and is not the pair in Vault, whose author knows its secret. A pair without a readable
    time of creation is never certain.

    One case goes undetected: somebody creates a pair by hand in the very seconds in which a worker dies before
    its own create was sent.

    :param listing: The account's pairs now.
    :param known: Client IDs on the list before the create.
    :param in_vault: Client ID that Vault holds now.
    :param begun_at: When the list before was served, in epoch seconds by Accounts' clock.
    :param settle_seconds: Seconds after which the create has certainly ended.
    """
    candidates = tuple(
        pair
        for pair in listing.keys
        if may_have_made(
            pair, known={*known, in_vault}, sent_at=begun_at, settle_seconds=settle_seconds, skew=SKEW
        )
    )
    if len(candidates) == 1 and epoch_seconds(candidates[0].created_at) is not None:
        return Attribution(own=candidates[0])
    return Attribution(candidates=candidates)


log = logging.getLogger(__name__)


def remove_unnamed(context: RotationContext, entry: RotationEntry) -> Flow[None]:
    """After a create whose answer is not known, remove the pair that it made; a flow.

    Its secret is lost, so nobody can use it. It cannot be in Vault: that is written only after the client
    ID was noted.

    :param entry: The journal, in the phase ``CREATING``.
    :raises BloqRotationDisputed: More than one pair may be it. Nothing is deleted.
    """
    settle_seconds = context.options.settle_seconds
    listing = yield from context.list_keys()
    left = entry.begun_at + settle_seconds - context.served_at(listing)
    if left > 0:
        # The create may still be under way, though nobody waits for its answer any more.
        yield from sleep(min(left, settle_seconds))
        listing = yield from context.list_keys()
    # Read last, so that what somebody has just put into Vault is seen.
    stored = yield from context.read_keys()
    claim = attribute_key(
        listing,
        known=entry.known_ids,
        in_vault=stored.keys.client_id,
        begun_at=entry.begun_at,
        settle_seconds=settle_seconds,
    )
    if claim.candidates:
        disputed = replace(
            entry,
            phase=RotationPhase.DISPUTED,
            generation=context.options.generation,
            candidates=tuple((pair.id, pair.created_at) for pair in claim.candidates),
        )
        yield from context.note(disputed)
        raise dispute(disputed)
    if claim.own is not None:
        log.info(
            "Removing client keys %s of %s, which an interrupted rotation made",
            claim.own.id,
            claim.own.created_at,
        )
        yield from context.delete_keys(claim.own.id)
    yield from context.forget()


def settle_named(context: RotationContext, entry: RotationEntry) -> Flow[None]:
    """After a create whose client ID is known, tell whether the pair came into Vault; remove it if not; a flow.

    :param entry: The journal, in the phase ``CREATED``; it becomes ``STORED``, or empty.
    """
    while True:
        stored = yield from context.read_keys()
        if stored.keys.client_id == entry.new_id:
            yield from context.note(entry.stored(stored.version, context.grace_end()))
            return
        if stored.version != entry.version or (yield from _fenced(context, stored)):
            break
    log.info("Removing client keys %s, which an interrupted rotation made", entry.new_id)
    yield from context.delete_keys(entry.new_id)
    yield from context.forget()


def _fenced(context: RotationContext, stored: StoredKeys) -> Flow[bool]:
    """Write the secret as it is, so that no write of the last try can still come through.

    A worker that died may have left one on its way. Were its pair deleted first, that write would leave
    Vault with a dead one. Each write names the version that it replaces, so a newer version shuts it out.
    """
    try:
        yield from run_blocking(partial(context.vault.write_keys, stored, None))
    except WriteConflict:
        return False
    return True


def dispute(entry: RotationEntry) -> BloqRotationDisputed:
    """Make the error for a disputed rotation."""
    told = ", ".join(
        f"{client_id} (created {created or 'at an unknown time'})" for client_id, created in entry.candidates
    )
    return BloqRotationDisputed(
        f"An interrupted rotation may have made one of these client keys, whose secret is then lost: {told}. Somebody "
        "else has made the others, so nothing was deleted. Ask whose they are, delete the one that is nobody's, and "
        "clear this task: it then begins anew and touches none of these.",
        candidates=entry.candidates,
    )


def replace_keys(context: RotationContext, place: str) -> Flow[None]:
    """Bring a new pair into Vault; a flow. Both pairs work when it ends, and the journal says ``STORED``.

    :param context: Whom to deal with.
    :param place: What is rotated, for the journal.
    :raises BloqRotationOvertaken: Somebody else wrote the secret meanwhile.
    :raises BloqRotationError: Accounts does not accept the pair that it has just given.
    """
    stored = yield from context.read_keys()
    listing = yield from context.list_keys()
    yield from require_own_keys(context, stored, listing)
    entry = RotationEntry(
        phase=RotationPhase.CREATING,
        place=place,
        generation=context.options.generation,
        old_id=stored.keys.client_id,
        version=stored.version,
        known_ids=tuple(sorted(listing.client_ids)),
        begun_at=context.served_at(listing),
    )
    yield from context.note(entry)
    keys = yield from _created(context, entry)
    log.info("Made client keys %s", keys.client_id)
    entry = replace(entry, phase=RotationPhase.CREATED, new_id=keys.client_id)
    try:
        yield from context.note(entry)
        if not (yield from context.is_proved(keys)):
            raise BloqRotationError(
                f"Accounts gave the client keys {keys.client_id} and then refuses to mint a token for them. They are "
                f"not written to Vault, which holds {entry.old_id} as before."
            )
    except Exception:
        # Whatever it was: nobody knows the secret of a pair that is not in Vault.
        yield from _discard(context, keys.client_id)
        raise
    version = yield from _written(context, stored, keys)
    log.info("Wrote client keys %s to %s, version %d", keys.client_id, context.vault.description, version)
    yield from context.note(entry.stored(version, context.grace_end()))


def require_own_keys(context: RotationContext, stored: StoredKeys, listing: KeyListing) -> Flow[None]:
    """Refuse to rotate the keys of another account than the one whose login is given.

    Keys that are dead and not on the list were deleted by somebody: to put living ones in their place is
    what is needed.

    :raises BloqConfigurationError: They live, and are not this account's.
    """
    client_id = stored.keys.client_id
    if client_id in listing.client_ids:
        return
    if (yield from context.is_accepted(stored.keys)):
        raise BloqConfigurationError.of(
            "account_vault_path",
            f"it holds the login of another account: the client keys {client_id} in {context.vault.description} work, "
            "but are not among that account's",
            "Write the user and password there of the account that the client keys belong to",
            context.vault.account_description,
        )
    log.warning("Client keys %s in %s were deleted at Bloq already.", client_id, context.vault.description)


def _created(context: RotationContext, entry: RotationEntry) -> Flow[ClientKeys]:
    try:
        return (yield from context.create_keys())
    except BloqError as failure:
        if not may_have_created(failure, ClientKeysApi.CREATE.url(context.accounts_url, {})):
            yield from context.forget()
            raise
        log.warning("The answer to the create of client keys was lost; looking whether it made some.")
        yield from remove_unnamed(context, entry)
        raise


def _written(context: RotationContext, stored: StoredKeys, keys: ClientKeys) -> Flow[int]:
    """Write the pair; repeated as often as need be, since a check-and-set write happens once at most."""
    in_doubt = False
    for attempt in count(1):
        try:
            return (yield from run_blocking(partial(context.vault.write_keys, stored, keys)))
        except BloqVaultUnavailable:
            in_doubt = True
            pause = context.options.policy.pause(attempt, None)
            if pause is None:
                # It may have been written. The journal knows the pair; the next try looks.
                raise
            yield from sleep(pause)
        except WriteConflict:
            return (yield from _version_or_lost(context, keys))
        except Exception:
            # Refused for good. Had an attempt before it gone unanswered, Vault might hold this very pair.
            if not in_doubt:
                yield from _discard(context, keys.client_id)
            raise
    raise AssertionError("count() has no end")


def _version_or_lost(context: RotationContext, keys: ClientKeys) -> Flow[int]:
    """Tell a race that was lost to another from one lost to an earlier attempt of this very write."""
    current = yield from context.read_keys()
    if current.keys.client_id == keys.client_id:
        return current.version
    yield from _discard(context, keys.client_id)
    raise BloqRotationOvertaken(
        f"{context.vault.description} was written by somebody else while it was rotated: it now is version "
        f"{current.version}, with the client keys {current.keys.client_id}. Nothing of it was changed; the pair "
        f"{keys.client_id} that was made here is not in use.",
        winner_version=current.version,
    )


def _discard(context: RotationContext, client_id: str) -> Flow[None]:
    """Delete the pair that was just made and surely is not in Vault; what fails here the next try does."""
    try:
        yield from context.delete_keys(client_id)
        yield from context.forget()
    except Exception as failure:
        log.warning("Client keys %s could not be removed again: %s", client_id, failure)
    else:
        log.info("Removed client keys %s again", client_id)


@dataclass(frozen=True, slots=True)
class RotationOutcome:
    """What a rotation has done.

    :param old_client_id: Client ID of the pair that is deleted.
    :param new_client_id: Client ID of the pair that was put in its place.
    :param previous_kv_version: Version of the secret in Vault that held the old pair.
    :param kv_version: Version of the secret that the rotation wrote.
    :param superseded_by: Client ID that Vault holds by now, where somebody has written another since.
    """

    old_client_id: str
    new_client_id: str
    previous_kv_version: int
    kv_version: int
    superseded_by: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Write it as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> RotationOutcome:
        """Read what :meth:`to_json` wrote."""
        return cls(**fields)


def complete(context: RotationContext, entry: RotationEntry) -> Flow[RotationOutcome]:
    """Delete the old pair and verify that what Vault holds works; a flow.

    :param entry: The journal, in the phase ``STORED``, after the grace period.
    :raises BloqRotationHalted: Vault holds the old pair again, or one that does not work: nothing is
        deleted.
    :raises BloqRotationError: The old pair is still there, or what Vault holds stopped working.
    """
    stored = yield from context.read_keys()
    if stored.keys.client_id == entry.old_id:
        raise BloqRotationHalted(
            f"{context.vault.description} holds the old client keys {entry.old_id} again (version {stored.version}): "
            f"somebody has put them back. Both they and {entry.new_id} were left alone. Delete at Bloq those which "
            "are not wanted; if the rotation is to go on, write the new ones back and clear this task."
        )
    yield from _require_working(context, entry, stored)
    listing = yield from context.list_keys()
    if entry.old_id in listing.client_ids:
        log.info("Deleting client keys %s", entry.old_id)
        yield from context.delete_keys(entry.old_id)
        listing = yield from context.list_keys()
    if entry.old_id in listing.client_ids:
        raise BloqRotationError(
            f"Accounts still lists the client keys {entry.old_id} after they were deleted."
        )
    stored = yield from context.read_keys()
    if not (yield from context.is_proved(stored.keys)):
        raise BloqRotationError(
            f"Accounts no longer accepts the client keys {stored.keys.client_id} in {context.vault.description} "
            "since the old ones were deleted. Look whether somebody has deleted these as well."
        )
    others = sorted(listing.client_ids - {entry.new_id, stored.keys.client_id})
    if others:
        log.info("Left alone %d other pairs of this account: %s", len(others), ", ".join(others))
    superseded_by = None if stored.keys.client_id == entry.new_id else stored.keys.client_id
    if superseded_by:
        log.warning(
            "%s holds client keys %s by now: client keys %s, made by this rotation, may be in use nowhere.",
            context.vault.description,
            superseded_by,
            entry.new_id,
        )
    return RotationOutcome(entry.old_id, entry.new_id, entry.version, entry.kv_version, superseded_by)


def _require_working(context: RotationContext, entry: RotationEntry, stored: StoredKeys) -> Flow[None]:
    if not (yield from context.is_proved(stored.keys)):
        raise BloqRotationHalted(
            f"Accounts refuses the client keys {stored.keys.client_id} in {context.vault.description} (version "
            f"{stored.version}): somebody has deleted them at Bloq. The old ones, {entry.old_id}, were left alone. "
            "Start a new rotation, which replaces dead client keys, and delete the old ones then."
        )


@dataclass(frozen=True, slots=True)
class GracePeriod:
    """Both pairs work; nothing is to be done before a time.

    :param until: That time, in epoch seconds.
    """

    until: float


def advance(context: RotationContext) -> Flow[GracePeriod | RotationOutcome]:
    """Take the rotation as far as it goes now; a flow.

    It begins with what the journal says, so it can follow a try that ended anywhere. What it has done is
    noted before the next thing is done, and everything that is done may be done twice.

    :param context: Whom to deal with, made for this call.
    :return: What to wait for, or what was done.
    :raises BloqRotationError: It is not at its end; the class tells whether another try can help.
    :raises BloqAccountRejected: Accounts refuses the account's login.
    :raises BloqConfigurationError: Something is set up wrongly.
    :raises BloqApiError: Accounts answers with an error, or not at all.
    :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
    """
    place = yield from context.place()
    while True:
        entry = yield from context.entry()
        if entry is not None and _is_over(entry, context.options.generation):
            entry = None
        if entry is not None and entry.place != place:
            raise _elsewhere(entry, place)
        match entry:
            case None:
                yield from replace_keys(context, place)
            case RotationEntry(phase=RotationPhase.CREATING):
                yield from remove_unnamed(context, entry)
            case RotationEntry(phase=RotationPhase.CREATED):
                yield from settle_named(context, entry)
            case RotationEntry(phase=RotationPhase.DISPUTED):
                raise dispute(entry)
            case RotationEntry(phase=RotationPhase.DONE):
                # A worker that died after its last step, and before Airflow knew of it.
                return RotationOutcome.from_json(entry.outcome or {})
            case RotationEntry(phase=RotationPhase.STORED):
                if context.options.clock() < entry.grace_until:
                    return GracePeriod(entry.grace_until)
                outcome = yield from complete(context, entry)
                done = replace(
                    entry,
                    phase=RotationPhase.DONE,
                    generation=context.options.generation,
                    outcome=outcome.to_json(),
                )
                yield from context.note(done)
                return outcome


def plan(context: RotationContext) -> Flow[dict[str, Any]]:
    """Tell what a rotation that begins now would do, and change nothing; a flow.

    Reads both secrets in Vault, logs in to Accounts and lists the account's pairs: what is wrong with
    these shows here. Whether Vault lets the keys be written does not.

    :return: Plain JSON values.
    """
    stored = yield from context.read_keys()
    listing = yield from context.list_keys()
    yield from require_own_keys(context, stored, listing)
    old_id = stored.keys.client_id
    others = len(stored.data) - 2
    write = f"write it to {context.vault.description} as version {stored.version + 1}, with its {others} other fields"
    return {
        "dry_run": True,
        "old_client_id": old_id,
        "kv_version": stored.version,
        "account_pairs": [{"client_id": pair.id, "created_at": pair.created_at} for pair in listing.keys],
        "steps": [
            f"create a pair of client keys at {context.accounts_url}",
            "prove it by minting a token",
            write,
            f"wait {context.options.grace:.0f} s, while both pairs work",
            f"delete the client keys {old_id} at Bloq"
            if old_id in listing.client_ids
            else f"delete nothing: the client keys {old_id} are gone from the account already",
            "mint with what Vault then holds, and list the account's pairs",
        ],
    }


def _is_over(entry: RotationEntry, generation: int) -> bool:
    """Whether a clear asks for more: of what is done a new rotation, of a dispute one that ignores it."""
    return entry.phase in (RotationPhase.DONE, RotationPhase.DISPUTED) and entry.generation != generation


def _elsewhere(entry: RotationEntry, place: str) -> BloqConfigurationError:
    made = f", and has made the client keys {entry.new_id}" if entry.new_id else ""
    return BloqConfigurationError.of(
        "bloq_conn_id",
        f"this task is in the middle of rotating {entry.place} ({entry.phase}; old client keys {entry.old_id}{made}), "
        f"but its connection now leads to {place}",
        "Restore the connection and clear the task, so that it comes to its end; or finish by hand and delete the "
        "journal from the task's state",
    )
