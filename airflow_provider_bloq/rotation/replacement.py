"""The first half of a rotation: make a pair, prove it, and put it into Vault in the place of the old one."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from itertools import count

from airflow_provider_bloq.auth.flow import Flow, block, sleep
from airflow_provider_bloq.auth.keys import ClientKeys
from airflow_provider_bloq.clients.client_keys import ClientKeysApi, KeyListing
from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqConfigurationError,
    BloqError,
    BloqRotationError,
    BloqRotationOvertaken,
    BloqUnavailable,
    BloqVaultUnavailable,
)
from airflow_provider_bloq.rotation.journal import Entry, Phase
from airflow_provider_bloq.rotation.parties import Parties
from airflow_provider_bloq.rotation.recovery import remove_unnamed
from airflow_provider_bloq.vault.kv import LostRace
from airflow_provider_bloq.vault.rotation import StoredKeys

__all__ = ["replace_keys", "require_own"]

log = logging.getLogger(__name__)


def replace_keys(parties: Parties, place: str) -> Flow[None]:
    """Bring a new pair into Vault; a flow. Both pairs work when it ends, and the journal says ``STORED``.

    :param parties: Whom to deal with.
    :param place: What is rotated, for the journal.
    :raises BloqRotationOvertaken: Somebody else wrote the secret meanwhile.
    :raises BloqRotationError: Accounts does not accept the pair that it has just given.
    """
    stored = yield from parties.read_keys()
    listing = yield from parties.list_keys()
    yield from require_own(parties, stored, listing)
    entry = Entry(
        phase=Phase.CREATING,
        place=place,
        era=parties.rules.era,
        old_id=stored.keys.client_id,
        version=stored.version,
        known_ids=tuple(sorted(listing.client_ids)),
        begun_at=parties.served_at(listing),
    )
    yield from parties.note(entry)
    keys = yield from _created(parties, entry)
    log.info("Made client keys %s", keys.client_id)
    entry = replace(entry, phase=Phase.CREATED, new_id=keys.client_id)
    try:
        yield from parties.note(entry)
        if not (yield from parties.is_proved(keys)):
            raise BloqRotationError(
                f"Accounts gave the client keys {keys.client_id} and then refuses to mint a token for them. They are "
                f"not written to Vault, which holds {entry.old_id} as before."
            )
    except Exception:
        # Whatever it was: nobody knows the secret of a pair that is not in Vault.
        yield from _discard(parties, keys.client_id)
        raise
    version = yield from _written(parties, stored, keys)
    log.info("Wrote client keys %s to %s, version %d", keys.client_id, parties.vault.description, version)
    yield from parties.note(entry.stored(version, parties.grace_end()))


def require_own(parties: Parties, stored: StoredKeys, listing: KeyListing) -> Flow[None]:
    """Refuse to rotate the keys of another account than the one whose login is given.

    Keys that are dead and not on the list were deleted by somebody: to put living ones in their place is
    what is needed.

    :raises BloqConfigurationError: They live, and are not this account's.
    """
    client_id = stored.keys.client_id
    if client_id in listing.client_ids:
        return
    if (yield from parties.is_accepted(stored.keys)):
        raise BloqConfigurationError.of(
            "account_vault_path",
            f"it holds the login of another account: the client keys {client_id} in {parties.vault.description} work, "
            "but are not among that account's",
            "Write the user and password there of the account that the client keys belong to",
            parties.vault.account_description,
        )
    log.warning("Client keys %s in %s were deleted at Bloq already.", client_id, parties.vault.description)


def _created(parties: Parties, entry: Entry) -> Flow[ClientKeys]:
    try:
        return (yield from parties.create_keys())
    except BloqError as failure:
        if not _may_have_created(failure, parties.accounts_url):
            yield from parties.forget()
            raise
        log.warning("The answer to the create of client keys was lost; looking whether it made some.")
        yield from remove_unnamed(parties, entry)
        raise


def _may_have_created(error: BloqError, accounts_url: str) -> bool:
    if not isinstance(error, BloqApiError) or error.method != ClientKeysApi.CREATE.method:
        return False
    # The login goes by POST as well.
    if error.url != ClientKeysApi.CREATE.url(accounts_url, {}):
        return False
    if isinstance(error, BloqUnavailable):
        return error.acted
    return error.status is not None and error.status < 400


def _written(parties: Parties, stored: StoredKeys, keys: ClientKeys) -> Flow[int]:
    """Write the pair; repeated as often as need be, since a check-and-set write happens once at most."""
    in_doubt = False
    for attempt in count(1):
        try:
            return (yield from block(partial(parties.vault.write_keys, stored, keys)))
        except BloqVaultUnavailable:
            in_doubt = True
            pause = parties.rules.policy.pause(attempt, None)
            if pause is None:
                # It may have been written. The journal knows the pair; the next try looks.
                raise
            yield from sleep(pause)
        except LostRace:
            return (yield from _version_or_lost(parties, keys))
        except Exception:
            # Refused for good. Had an attempt before it gone unanswered, Vault might hold this very pair.
            if not in_doubt:
                yield from _discard(parties, keys.client_id)
            raise
    raise AssertionError("count() has no end")


def _version_or_lost(parties: Parties, keys: ClientKeys) -> Flow[int]:
    """Tell a race that was lost to another from one lost to an earlier attempt of this very write."""
    current = yield from parties.read_keys()
    if current.keys.client_id == keys.client_id:
        return current.version
    yield from _discard(parties, keys.client_id)
    raise BloqRotationOvertaken(
        f"{parties.vault.description} was written by somebody else while it was rotated: it now is version "
        f"{current.version}, with the client keys {current.keys.client_id}. Nothing of it was changed; the pair "
        f"{keys.client_id} that was made here is not in use.",
        winner_version=current.version,
    )


def _discard(parties: Parties, client_id: str) -> Flow[None]:
    """Delete the pair that was just made and surely is not in Vault; what fails here the next try does."""
    try:
        yield from parties.delete_keys(client_id)
        yield from parties.forget()
    except Exception as failure:
        log.warning("Client keys %s could not be removed again: %s", client_id, failure)
    else:
        log.info("Removed client keys %s again", client_id)
