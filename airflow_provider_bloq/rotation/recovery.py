"""What the next try does first: find out what the last one has done, and undo what led nowhere."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

from airflow_provider_bloq.auth.flow import Flow, block, sleep
from airflow_provider_bloq.exceptions import BloqRotationDisputed
from airflow_provider_bloq.rotation.claim import claimed
from airflow_provider_bloq.rotation.journal import Entry, Phase
from airflow_provider_bloq.rotation.parties import Parties
from airflow_provider_bloq.vault.kv import LostRace
from airflow_provider_bloq.vault.rotation import StoredKeys

__all__ = ["dispute", "remove_unnamed", "settle_named"]

log = logging.getLogger(__name__)


def remove_unnamed(parties: Parties, entry: Entry) -> Flow[None]:
    """After a create whose answer is not known, remove the pair that it made; a flow.

    Its secret is lost, so nobody can use it. It cannot be in Vault: that is written only after the client
    ID was noted.

    :param entry: The journal, in the phase ``CREATING``.
    :raises BloqRotationDisputed: More than one pair may be it. Nothing is deleted.
    """
    patience = parties.rules.patience
    listing = yield from parties.list_keys()
    left = entry.begun_at + patience - parties.served_at(listing)
    if left > 0:
        # The create may still be under way, though nobody waits for its answer any more.
        yield from sleep(min(left, patience))
        listing = yield from parties.list_keys()
    # Read last, so that what somebody has just put into Vault is seen.
    stored = yield from parties.read_keys()
    claim = claimed(
        listing,
        known=entry.known_ids,
        in_vault=stored.keys.client_id,
        begun_at=entry.begun_at,
        patience=patience,
    )
    if claim.candidates:
        disputed = replace(
            entry,
            phase=Phase.DISPUTED,
            era=parties.rules.era,
            candidates=tuple((pair.client_id, pair.created_at) for pair in claim.candidates),
        )
        yield from parties.note(disputed)
        raise dispute(disputed)
    if claim.own is not None:
        log.info(
            "Removing client keys %s of %s, which an interrupted rotation made",
            claim.own.client_id,
            claim.own.created_at,
        )
        yield from parties.delete_keys(claim.own.client_id)
    yield from parties.forget()


def settle_named(parties: Parties, entry: Entry) -> Flow[None]:
    """After a create whose client ID is known, tell whether the pair came into Vault; remove it if not; a flow.

    :param entry: The journal, in the phase ``CREATED``; it becomes ``STORED``, or empty.
    """
    while True:
        stored = yield from parties.read_keys()
        if stored.keys.client_id == entry.new_id:
            yield from parties.note(entry.stored(stored.version, parties.grace_end()))
            return
        if stored.version != entry.version or (yield from _fenced(parties, stored)):
            break
    log.info("Removing client keys %s, which an interrupted rotation made", entry.new_id)
    yield from parties.delete_keys(entry.new_id)
    yield from parties.forget()


def _fenced(parties: Parties, stored: StoredKeys) -> Flow[bool]:
    """Write the secret as it is, so that no write of the last try can still come through.

    A worker that died may have left one on its way. Were its pair deleted first, that write would leave
    Vault with a dead one. Each write names the version that it replaces, so a newer version shuts it out.
    """
    try:
        yield from block(partial(parties.vault.write_keys, stored, None))
    except LostRace:
        return False
    return True


def dispute(entry: Entry) -> BloqRotationDisputed:
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
