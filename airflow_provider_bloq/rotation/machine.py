"""The rotation from beginning to end, which any number of workers may take further, one after another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.rotation.completion import Outcome, complete
from airflow_provider_bloq.rotation.journal import Entry, Phase
from airflow_provider_bloq.rotation.parties import Parties
from airflow_provider_bloq.rotation.recovery import dispute, remove_unnamed, settle_named
from airflow_provider_bloq.rotation.replacement import replace_keys, require_own

__all__ = ["Grace", "advance", "plan"]


@dataclass(frozen=True, slots=True)
class Grace:
    """Both pairs work; nothing is to be done before a time.

    :param until: That time, in epoch seconds.
    """

    until: float


def advance(parties: Parties) -> Flow[Grace | Outcome]:
    """Take the rotation as far as it goes now; a flow.

    It begins with what the journal says, so it can follow a try that ended anywhere. What it has done is
    noted before the next thing is done, and everything that is done may be done twice.

    :param parties: Whom to deal with, made for this call.
    :return: What to wait for, or what was done.
    :raises BloqRotationError: It is not at its end; the class tells whether another try can help.
    :raises BloqAccountRejected: Accounts refuses the account's login.
    :raises BloqConfigurationError: Something is set up wrongly.
    :raises BloqApiError: Accounts answers with an error, or not at all.
    :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
    """
    place = yield from parties.place()
    while True:
        entry = yield from parties.entry()
        if entry is not None and _is_over(entry, parties.rules.era):
            entry = None
        if entry is not None and entry.place != place:
            raise _elsewhere(entry, place)
        match entry:
            case None:
                yield from replace_keys(parties, place)
            case Entry(phase=Phase.CREATING):
                yield from remove_unnamed(parties, entry)
            case Entry(phase=Phase.CREATED):
                yield from settle_named(parties, entry)
            case Entry(phase=Phase.DISPUTED):
                raise dispute(entry)
            case Entry(phase=Phase.DONE):
                # A worker that died after its last step, and before Airflow knew of it.
                return Outcome.from_json(entry.outcome or {})
            case Entry(phase=Phase.STORED):
                if parties.rules.clock() < entry.grace_until:
                    return Grace(entry.grace_until)
                outcome = yield from complete(parties, entry)
                done = replace(entry, phase=Phase.DONE, era=parties.rules.era, outcome=outcome.to_json())
                yield from parties.note(done)
                return outcome


def plan(parties: Parties) -> Flow[dict[str, Any]]:
    """Tell what a rotation that begins now would do, and change nothing; a flow.

    Reads both secrets in Vault, logs in to Accounts and lists the account's pairs: what is wrong with
    these shows here. Whether Vault lets the keys be written does not.

    :return: Plain JSON values.
    """
    stored = yield from parties.read_keys()
    listing = yield from parties.list_keys()
    yield from require_own(parties, stored, listing)
    old_id = stored.keys.client_id
    others = len(stored.data) - 2
    write = f"write it to {parties.vault.description} as version {stored.version + 1}, with its {others} other fields"
    return {
        "dry_run": True,
        "old_client_id": old_id,
        "kv_version": stored.version,
        "account_pairs": [
            {"client_id": pair.client_id, "created_at": pair.created_at} for pair in listing.keys
        ],
        "steps": [
            f"create a pair of client keys at {parties.accounts_url}",
            "prove it by minting a token",
            write,
            f"wait {parties.rules.grace:.0f} s, while both pairs work",
            f"delete the client keys {old_id} at Bloq"
            if old_id in listing.client_ids
            else f"delete nothing: the client keys {old_id} are gone from the account already",
            "mint with what Vault then holds, and list the account's pairs",
        ],
    }


def _is_over(entry: Entry, era: int) -> bool:
    """Whether a clear asks for more: of what is done a new rotation, of a dispute one that ignores it."""
    return entry.phase in (Phase.DONE, Phase.DISPUTED) and entry.era != era


def _elsewhere(entry: Entry, place: str) -> BloqConfigurationError:
    made = f", and has made the client keys {entry.new_id}" if entry.new_id else ""
    return BloqConfigurationError.of(
        "bloq_conn_id",
        f"this task is in the middle of rotating {entry.place} ({entry.phase}; old client keys {entry.old_id}{made}), "
        f"but its connection now leads to {place}",
        "Restore the connection and clear the task, so that it comes to its end; or finish by hand and delete the "
        "journal from the task's state",
    )
