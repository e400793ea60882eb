"""Rotation of an account's client keys in Vault: create a pair, store it, wait, delete the old pair.

:func:`advance` continues from what the journal says. Each step is recorded before the next one begins, and every
step may be repeated, so a try can follow one that died anywhere.
"""

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
    "plan",
]

log = logging.getLogger(__name__)

#: By how many seconds the clocks of Accounts' machines may differ; its Date header has whole seconds.
SKEW = 5.0


@dataclass(frozen=True, slots=True)
class RotationOptions:
    """How to rotate.

    :param grace: Seconds during which both pairs work.
    :param settle_seconds: Seconds after which a request to Accounts has certainly ended.
    :param generation: Distinguishes the tries of one run from those after a clear: the task's ``max_tries``,
        which every clear raises.
    :param policy: How often requests, mints with a new pair and writes are repeated.
    :param clock: Returns the time in epoch seconds.
    """

    grace: float
    settle_seconds: float
    generation: int
    policy: RetryPolicy
    clock: Callable[[], float] = time.time


class RotationContext:
    """Accounts, Vault and the journal of one rotation, each behind flows.

    It logs in at first use and keeps the logins: make a new one after a grace period.

    :param accounts_url: Base URL of Accounts.
    :param vault: The two secrets in Vault.
    :param journal: The journal of this rotation.
    :param options: How to rotate.
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

    def target(self) -> Flow[str]:
        """Name what is rotated: the Accounts URL and the secret in Vault."""
        secret = yield from run_blocking(self.vault.target)
        return f"{self.accounts_url} -> {secret}"

    def entry(self) -> Flow[RotationEntry | None]:
        """Read the journal."""
        value = yield from run_blocking(self._journal.read)
        return None if value is None else RotationEntry.from_json(value)

    def record(self, entry: RotationEntry) -> Flow[None]:
        """Write the journal; the entry is stored safely when this ends."""
        yield from run_blocking(partial(self._journal.write, entry.to_json()))

    def clear(self) -> Flow[None]:
        """Empty the journal: nothing is under way any more."""
        yield from run_blocking(self._journal.clear)

    def read_keys(self) -> Flow[StoredKeys]:
        """Read the secret in Vault and mask its client secret."""
        stored = yield from run_blocking(self.vault.read_keys)
        yield from mask(stored.keys.client_secret)
        return stored

    def write_keys(self, stored: StoredKeys, keys: ClientKeys | None) -> Flow[int]:
        """Write the secret in Vault; see :meth:`~airflow_provider_bloq.vault.rotation.RotationVault.write_keys`."""
        return (yield from run_blocking(partial(self.vault.write_keys, stored, keys)))

    def account(self) -> Flow[ClientKeysApi]:
        """Return the endpoints of the account, with the login that is in Vault."""
        if self._account is None:
            user, password = yield from run_blocking(self.vault.read_login)
            yield from mask(password)
            login = AccountLogin(user, password, self.vault.account_description)
            self._account = ClientKeysApi(url=self.accounts_url, login=login, policy=self.options.policy)
        return self._account

    def list_keys(self) -> Flow[KeyListing]:
        """List the account's pairs."""
        return (yield from (yield from self.account()).list())

    def create_keys(self) -> Flow[ClientKeys]:
        """Create a pair."""
        return (yield from (yield from self.account()).create())

    def delete_keys(self, client_id: str) -> Flow[None]:
        """Delete a pair; one that does not exist is ignored."""
        yield from (yield from self.account()).delete(client_id)

    def is_accepted(self, keys: ClientKeys) -> Flow[bool]:
        """Return whether Accounts mints a token for this pair now."""
        try:
            yield from self._tokens.mint(keys, retry=True)
        except GrantRefused as refusal:
            if refusal.error is not None:
                # Not about the keys: the page of a firewall, for example.
                raise refusal.error from None
            return False
        return True

    def becomes_accepted(self, keys: ClientKeys) -> Flow[bool]:
        """Return whether Accounts mints for this pair within a few seconds, which a new pair may need."""
        for attempt in count(1):
            if (yield from self.is_accepted(keys)):
                return True
            pause = self.options.policy.pause(attempt, None)
            if pause is None:
                break
            yield from sleep(pause)
        return False

    def served_at(self, listing: KeyListing) -> float:
        """Return when a list was served: by Accounts' clock, or by this machine's if Accounts does not say."""
        return listing.served_at if listing.served_at is not None else self.options.clock()

    def grace_end(self) -> float:
        """Return the end of a grace period that begins now, in epoch seconds."""
        return self.options.clock() + self.options.grace


@dataclass(frozen=True, slots=True)
class GracePeriod:
    """Both pairs work; the rotation continues at a later time.

    :param until: That time, in epoch seconds.
    """

    until: float


@dataclass(frozen=True, slots=True)
class RotationOutcome:
    """The result of a rotation.

    :param old_client_id: Client ID of the pair that was deleted.
    :param new_client_id: Client ID of the pair that replaced it.
    :param previous_kv_version: Version of the secret in Vault that held the old pair.
    :param kv_version: Version of the secret that the rotation wrote.
    :param superseded_by: Client ID in Vault at the end, if somebody has written another pair since.
    """

    old_client_id: str
    new_client_id: str
    previous_kv_version: int
    kv_version: int
    superseded_by: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> RotationOutcome:
        """Read the result of :meth:`to_json`."""
        return cls(**fields)


def advance(context: RotationContext) -> Flow[GracePeriod | RotationOutcome]:
    """Take the rotation as far as possible now; a flow.

    :param context: Made for this call.
    :return: What to wait for, or the result.
    :raises BloqRotationError: The rotation did not finish; the class tells whether another try can help.
    :raises BloqAccountRejected: Accounts refuses the account's login.
    :raises BloqConfigurationError: A setting is wrong.
    :raises BloqApiError: Accounts answers with an error, or not at all.
    :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
    """
    target = yield from context.target()
    while True:
        entry = yield from context.entry()
        if entry is not None and _is_over(entry, context.options.generation):
            entry = None
        if entry is not None and entry.target != target:
            raise _other_target(entry, target)
        match entry:
            case None:
                yield from _replace_keys(context, target)
            case RotationEntry(phase=RotationPhase.CREATING):
                yield from _recover_unnamed(context, entry)
            case RotationEntry(phase=RotationPhase.CREATED):
                yield from _recover_named(context, entry)
            case RotationEntry(phase=RotationPhase.DISPUTED):
                raise _disputed(entry)
            case RotationEntry(phase=RotationPhase.DONE):
                # A worker died after the last step, before Airflow knew of the result.
                return RotationOutcome.from_json(entry.outcome or {})
            case RotationEntry(phase=RotationPhase.STORED):
                if context.options.clock() < entry.grace_until:
                    return GracePeriod(entry.grace_until)
                outcome = yield from _complete(context, entry)
                yield from context.record(
                    replace(
                        entry,
                        phase=RotationPhase.DONE,
                        generation=context.options.generation,
                        outcome=outcome.to_json(),
                    )
                )
                return outcome


def plan(context: RotationContext) -> Flow[dict[str, Any]]:
    """Describe what a rotation would do now, and change nothing; a flow.

    Reads both secrets in Vault, logs in to Accounts and lists the account's pairs, so problems with these show.
    Whether Vault allows the write is not checked.

    :return: JSON values.
    """
    stored = yield from context.read_keys()
    listing = yield from context.list_keys()
    yield from _require_own_keys(context, stored, listing)
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
            "mint a token with it",
            write,
            f"wait {context.options.grace:.0f} s while both pairs work",
            f"delete the client keys {old_id} at Bloq"
            if old_id in listing.client_ids
            else f"delete nothing: the client keys {old_id} no longer exist",
            "mint a token with the pair that Vault then holds, and list the account's pairs",
        ],
    }


def _is_over(entry: RotationEntry, generation: int) -> bool:
    """Return whether a clear asks for a new rotation, after one that is done or disputed."""
    return entry.phase in (RotationPhase.DONE, RotationPhase.DISPUTED) and entry.generation != generation


def _other_target(entry: RotationEntry, target: str) -> BloqConfigurationError:
    created = f", new client keys {entry.new_id}" if entry.new_id else ""
    return BloqConfigurationError.of(
        "bloq_conn_id",
        f"this task has begun to rotate {entry.target} (phase {entry.phase}, old client keys {entry.old_id}{created}), "
        f"but its connection now leads to {target}",
        "Restore the connection and clear the task to finish that rotation; or finish it by hand and delete the "
        "journal from the task's state",
    )


def _replace_keys(context: RotationContext, target: str) -> Flow[None]:
    """Create a pair and write it to Vault. Both pairs work afterwards, and the journal says ``STORED``.

    :raises BloqRotationOvertaken: Somebody else wrote the secret meanwhile.
    :raises BloqRotationError: Accounts does not accept the new pair.
    """
    stored = yield from context.read_keys()
    listing = yield from context.list_keys()
    yield from _require_own_keys(context, stored, listing)
    entry = RotationEntry(
        phase=RotationPhase.CREATING,
        target=target,
        generation=context.options.generation,
        old_id=stored.keys.client_id,
        version=stored.version,
        known_ids=tuple(sorted(listing.client_ids)),
        listed_at=context.served_at(listing),
    )
    yield from context.record(entry)
    keys = yield from _create(context, entry)
    log.info("Created client keys %s", keys.client_id)
    entry = replace(entry, phase=RotationPhase.CREATED, new_id=keys.client_id)
    try:
        yield from context.record(entry)
        if not (yield from context.becomes_accepted(keys)):
            raise BloqRotationError(
                f"Accounts created the client keys {keys.client_id} but refuses to mint a token for them. They are "
                f"not written to Vault, which still holds {entry.old_id}."
            )
    except Exception:
        # Nobody knows the secret of a pair that is not in Vault.
        yield from _discard(context, keys.client_id)
        raise
    version = yield from _write(context, stored, keys)
    log.info("Wrote client keys %s to %s, version %d", keys.client_id, context.vault.description, version)
    yield from context.record(entry.stored(version, context.grace_end()))


def _require_own_keys(context: RotationContext, stored: StoredKeys, listing: KeyListing) -> Flow[None]:
    """Refuse to rotate the keys of an account other than the one that logs in.

    Keys that do not work and are not on the list were deleted; replacing them is right.
    """
    client_id = stored.keys.client_id
    if client_id in listing.client_ids:
        return
    if (yield from context.is_accepted(stored.keys)):
        raise BloqConfigurationError.of(
            "account_vault_path",
            f"it holds the login of another account: the client keys {client_id} in {context.vault.description} work, "
            "but that account does not have them",
            "Write the user and password of the account that has these client keys there",
            context.vault.account_description,
        )
    log.warning("Client keys %s in %s were already deleted at Bloq.", client_id, context.vault.description)


def _create(context: RotationContext, entry: RotationEntry) -> Flow[ClientKeys]:
    try:
        return (yield from context.create_keys())
    except BloqError as failure:
        if not may_have_created(failure, ClientKeysApi.create_url(context.accounts_url)):
            yield from context.clear()
            raise
        log.warning("The answer to the create of client keys was lost; checking whether it created a pair.")
        yield from _recover_unnamed(context, entry)
        raise


def _write(context: RotationContext, stored: StoredKeys, keys: ClientKeys) -> Flow[int]:
    """Write the pair to Vault. Check-and-set takes effect once at most, so the write may be repeated."""
    in_doubt = False
    for attempt in count(1):
        try:
            return (yield from context.write_keys(stored, keys))
        except BloqVaultUnavailable:
            in_doubt = True
            pause = context.options.policy.pause(attempt, None)
            if pause is None:
                # Vault may hold the pair. The journal names it, so the next try finds out.
                raise
            yield from sleep(pause)
        except WriteConflict:
            return (yield from _version_or_overtaken(context, keys))
        except Exception:
            # Refused for good. After an unanswered attempt, however, Vault might hold this pair.
            if not in_doubt:
                yield from _discard(context, keys.client_id)
            raise
    raise AssertionError("count() has no end")


def _version_or_overtaken(context: RotationContext, keys: ClientKeys) -> Flow[int]:
    """Tell a conflict with somebody else's write from one with an earlier attempt of the same write."""
    current = yield from context.read_keys()
    if current.keys.client_id == keys.client_id:
        return current.version
    yield from _discard(context, keys.client_id)
    raise BloqRotationOvertaken(
        f"Somebody else wrote {context.vault.description} during the rotation: it is now version {current.version}, "
        f"with the client keys {current.keys.client_id}, and was left unchanged. The pair {keys.client_id} that the "
        "rotation created is not in use.",
        winner_version=current.version,
    )


def _discard(context: RotationContext, client_id: str) -> Flow[None]:
    """Delete the new pair, which Vault certainly does not hold; if that fails, the next try does it."""
    try:
        yield from context.delete_keys(client_id)
        yield from context.clear()
    except Exception as failure:
        log.warning("Client keys %s could not be deleted again: %s", client_id, failure)
    else:
        log.info("Deleted client keys %s again", client_id)


@dataclass(frozen=True, slots=True)
class Attribution:
    """What a create whose answer was lost may have made.

    :param own: The pair that it certainly made; None if it made none, or if that is uncertain.
    :param candidates: If it is uncertain, every pair that it may have made.
    """

    own: ListedKeys | None = None
    candidates: tuple[ListedKeys, ...] = ()


def attribute_key(
    listing: KeyListing, *, known: Collection[str], in_vault: str, listed_at: float, settle_seconds: float
) -> Attribution:
    """Find the pair that a create whose answer was lost has made.

    It is certain if exactly one pair is new since the list before the create, was created while the create can
    have been under way, and is not the pair in Vault, whose author knows its secret. A pair without a readable
    time of creation is never certain.

    One case goes undetected: somebody creates a pair by hand in the very seconds in which a worker dies before
    its own create was sent.

    :param listing: The account's pairs now.
    :param known: Client IDs on the list before the create.
    :param in_vault: Client ID in Vault now.
    :param listed_at: When the list before was served, in epoch seconds by Accounts' clock.
    :param settle_seconds: Seconds after which the create has certainly ended.
    """
    candidates = tuple(
        pair
        for pair in listing.keys
        if may_have_made(
            pair, known={*known, in_vault}, sent_at=listed_at, settle_seconds=settle_seconds, skew=SKEW
        )
    )
    if len(candidates) == 1 and epoch_seconds(candidates[0].created_at) is not None:
        return Attribution(own=candidates[0])
    return Attribution(candidates=candidates)


def _recover_unnamed(context: RotationContext, entry: RotationEntry) -> Flow[None]:
    """After a create whose answer was lost, delete the pair that it made, whose secret nobody knows.

    Vault cannot hold it: the client ID is recorded before Vault is written.

    :raises BloqRotationDisputed: More than one pair may be it. Nothing is deleted.
    """
    settle_seconds = context.options.settle_seconds
    listing = yield from context.list_keys()
    remaining = entry.listed_at + settle_seconds - context.served_at(listing)
    if remaining > 0:
        # The create may still be under way, although nobody waits for its answer.
        yield from sleep(min(remaining, settle_seconds))
        listing = yield from context.list_keys()
    # Read after the list, to see a pair that somebody has just written to Vault.
    stored = yield from context.read_keys()
    attribution = attribute_key(
        listing,
        known=entry.known_ids,
        in_vault=stored.keys.client_id,
        listed_at=entry.listed_at,
        settle_seconds=settle_seconds,
    )
    if attribution.candidates:
        disputed = replace(
            entry,
            phase=RotationPhase.DISPUTED,
            generation=context.options.generation,
            candidates=tuple((pair.id, pair.created_at) for pair in attribution.candidates),
        )
        yield from context.record(disputed)
        raise _disputed(disputed)
    if attribution.own is not None:
        yield from _delete_leftover(context, attribution.own.id)
    yield from context.clear()


def _recover_named(context: RotationContext, entry: RotationEntry) -> Flow[None]:
    """After a create whose client ID is recorded, continue if Vault holds the pair; else delete the pair."""
    while True:
        stored = yield from context.read_keys()
        if stored.keys.client_id == entry.new_id:
            yield from context.record(entry.stored(stored.version, context.grace_end()))
            return
        if stored.version != entry.version:
            break
        # A write of the worker that died may still be on its way, and would leave Vault with a deleted pair. Each
        # write names the version that it replaces, so writing the secret unchanged shuts that one out.
        try:
            yield from context.write_keys(stored, None)
        except WriteConflict:
            continue
    yield from _delete_leftover(context, entry.new_id)
    yield from context.clear()


def _delete_leftover(context: RotationContext, client_id: str) -> Flow[None]:
    log.info("Deleting client keys %s, which an interrupted rotation created", client_id)
    yield from context.delete_keys(client_id)


def _disputed(entry: RotationEntry) -> BloqRotationDisputed:
    pairs = ", ".join(
        f"{client_id} (created {created or 'at an unknown time'})" for client_id, created in entry.candidates
    )
    return BloqRotationDisputed(
        f"An interrupted rotation may have created one of these client keys, whose secret is then lost: {pairs}. "
        "The others belong to somebody else, so nothing was deleted. Find out whose they are, delete the one that "
        "belongs to nobody, and clear this task: it then starts again and touches none of these.",
        candidates=entry.candidates,
    )


def _complete(context: RotationContext, entry: RotationEntry) -> Flow[RotationOutcome]:
    """After the grace period, delete the old pair and check that the pair in Vault works.

    :raises BloqRotationHalted: Vault holds the old pair again, or one that does not work: nothing is deleted.
    :raises BloqRotationError: The old pair still exists, or the pair in Vault no longer works.
    """
    vault = context.vault.description
    stored = yield from context.read_keys()
    if stored.keys.client_id == entry.old_id:
        raise BloqRotationHalted(
            f"{vault} holds the old client keys {entry.old_id} again (version {stored.version}): somebody has put "
            f"them back. Neither they nor {entry.new_id} were deleted. Delete the unwanted pair at Bloq; to continue "
            "the rotation, write the new pair to Vault again and clear this task."
        )
    if not (yield from context.becomes_accepted(stored.keys)):
        raise BloqRotationHalted(
            f"Accounts refuses the client keys {stored.keys.client_id} in {vault} (version {stored.version}): "
            f"somebody has deleted them at Bloq. The old ones, {entry.old_id}, were not deleted. Start a new "
            "rotation, which replaces the keys that do not work, and delete the old ones afterwards."
        )
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
    in_vault = stored.keys.client_id
    if not (yield from context.becomes_accepted(stored.keys)):
        raise BloqRotationError(
            f"Accounts no longer accepts the client keys {in_vault} in {vault} since the old ones were deleted. "
            "Check whether somebody has deleted these as well."
        )
    others = sorted(listing.client_ids - {entry.new_id, in_vault})
    if others:
        log.info("Kept %d other pairs of this account: %s", len(others), ", ".join(others))
    superseded_by = None if in_vault == entry.new_id else in_vault
    if superseded_by:
        log.warning(
            "%s now holds client keys %s; client keys %s, created by this rotation, may not be in use anywhere.",
            vault,
            superseded_by,
            entry.new_id,
        )
    return RotationOutcome(entry.old_id, entry.new_id, entry.version, entry.kv_version, superseded_by)
