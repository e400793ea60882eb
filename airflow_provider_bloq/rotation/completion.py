"""The second half of a rotation: delete the old pair, once that is safe, and verify."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.exceptions import BloqRotationError, BloqRotationHalted
from airflow_provider_bloq.rotation.journal import Entry
from airflow_provider_bloq.rotation.parties import Parties
from airflow_provider_bloq.vault.rotation import StoredKeys

__all__ = ["Outcome", "complete"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
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
    def from_json(cls, fields: Mapping[str, Any]) -> Outcome:
        """Read what :meth:`to_json` wrote."""
        return cls(**fields)


def complete(parties: Parties, entry: Entry) -> Flow[Outcome]:
    """Delete the old pair and verify that what Vault holds works; a flow.

    :param entry: The journal, in the phase ``STORED``, after the grace period.
    :raises BloqRotationHalted: Vault holds the old pair again, or one that does not work: nothing is
        deleted.
    :raises BloqRotationError: The old pair is still there, or what Vault holds stopped working.
    """
    stored = yield from parties.read_keys()
    if stored.keys.client_id == entry.old_id:
        raise BloqRotationHalted(
            f"{parties.vault.description} holds the old client keys {entry.old_id} again (version {stored.version}): "
            f"somebody has put them back. Both they and {entry.new_id} were left alone. Delete at Bloq those which "
            "are not wanted; if the rotation is to go on, write the new ones back and clear this task."
        )
    yield from _require_working(parties, entry, stored)
    listing = yield from parties.list_keys()
    if entry.old_id in listing.client_ids:
        log.info("Deleting client keys %s", entry.old_id)
        yield from parties.delete_keys(entry.old_id)
        listing = yield from parties.list_keys()
    if entry.old_id in listing.client_ids:
        raise BloqRotationError(
            f"Accounts still lists the client keys {entry.old_id} after they were deleted."
        )
    stored = yield from parties.read_keys()
    if not (yield from parties.is_proved(stored.keys)):
        raise BloqRotationError(
            f"Accounts has stopped to accept the client keys {stored.keys.client_id} in {parties.vault.description} "
            "since the old ones were deleted. Look whether somebody has deleted these as well."
        )
    others = sorted(listing.client_ids - {entry.new_id, stored.keys.client_id})
    if others:
        log.info("Left alone %d other pairs of this account: %s", len(others), ", ".join(others))
    superseded_by = None if stored.keys.client_id == entry.new_id else stored.keys.client_id
    if superseded_by:
        log.warning(
            "%s holds client keys %s by now: client keys %s, made by this rotation, may be in use nowhere.",
            parties.vault.description,
            superseded_by,
            entry.new_id,
        )
    return Outcome(entry.old_id, entry.new_id, entry.version, entry.kv_version, superseded_by)


def _require_working(parties: Parties, entry: Entry, stored: StoredKeys) -> Flow[None]:
    if not (yield from parties.is_proved(stored.keys)):
        raise BloqRotationHalted(
            f"Accounts refuses the client keys {stored.keys.client_id} in {parties.vault.description} (version "
            f"{stored.version}): somebody has deleted them at Bloq. The old ones, {entry.old_id}, were left alone. "
            "Start a new rotation, which replaces dead client keys, and delete the old ones then."
        )
