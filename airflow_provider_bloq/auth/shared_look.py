"""What one look at the shared token shows, and what is said where it shows nothing that is of use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.auth.token import AccessToken
from airflow_provider_bloq.exceptions import BloqSharedTokenStale, BloqVaultUnavailable

__all__ = ["Need", "Seen", "stale", "unreachable"]


@dataclass(frozen=True, slots=True)
class Seen:
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
class Need:
    """Which token is looked for.

    :param is_enough: Whether a living one will do.
    :param refused: One that will not, since a service refused it.
    """

    is_enough: Callable[[Seen, AccessToken], bool]
    refused: Secret | None = None

    def is_met_by(self, seen: Seen) -> bool:
        """Tell whether a look showed it."""
        return seen.token is not None and self.is_enough(seen, seen.token)


def unreachable(failure: BloqVaultUnavailable, patience: float) -> BloqVaultUnavailable:
    """Say that Vault could not be reached as long as anybody waited.

    :param failure: How the last try failed.
    :param patience: For how many seconds it was tried.
    """
    return BloqVaultUnavailable(
        f"{failure}. No access token could be had through it for {patience:.0f} s: see that Vault is up and"
        " unsealed and can be reached from here; then the task can be tried again as it is."
    )


def stale(seen: Seen, where: str, patience: float) -> BloqSharedTokenStale:
    """Say that a reader found no token that is good, and whose it is to write one.

    :param seen: The last look.
    :param where: Names the place.
    :param patience: For how many seconds a newer one was waited for.
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
        f"{problem}. No newer one came within {patience:.0f} s. This connection may only read it: see that"
        f" {broker}, or another member of the fleet, runs and can write there.",
        path=where,
        client_id=seen.client_id,
        age=seen.age,
    )
