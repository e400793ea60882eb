"""Whose a shared token is: a member that acted with another account's would act for that account."""

from __future__ import annotations

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.auth.ladder import TokenProvider
from airflow_provider_bloq.auth.shared_look import Need, Seen
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["may_use"]


def may_use(seen: Seen, need: Need, minter: TokenProvider, known: str | None, where: str) -> Flow[bool]:
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
