"""How a Vault stands: who it lets in, which version it is, and what time it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.vault.access import VaultAccess
from airflow_provider_bloq.vault.diagnose import diagnose_login
from airflow_provider_bloq.vault.endpoint import VaultEndpoint

__all__ = ["VaultStanding", "standing_of"]

#: A standby hands requests on; that it is one is no matter here.
_HEALTH = "/v1/sys/health?standbyok=true&perfstandbyok=true"


@dataclass(frozen=True, slots=True)
class VaultStanding:
    """What is known of a Vault after a login.

    :param url: Its address.
    :param auth_type: How the login was made, in ``VaultHook``'s words.
    :param version: Version of the server; None where it does not tell.
    :param date: Its ``Date`` header; None where it sends none.
    """

    url: str
    auth_type: str
    version: str | None = None
    date: str | None = None


def standing_of(access: VaultAccess) -> VaultStanding:
    """Log in and look. Blocks.

    :param access: The Vault connection in use.
    :raises BloqConfigurationError: The Vault connection is wrong, or its login is refused.
    :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
    """
    where = f"Vault connection {access.vault_conn_id!r}"
    return access.call(_look, lambda error, client, endpoint: diagnose_login(error, endpoint, where))


def _look(client: Any, endpoint: VaultEndpoint) -> VaultStanding:
    from hvac.adapters import RawAdapter
    from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest

    # The client's own adapter drops the headers.
    raw = RawAdapter.from_adapter(client.adapter)
    try:
        answer = raw.get(_HEALTH)
    except (Forbidden, InvalidPath, InvalidRequest):
        # In a namespace there may be no such page. The login has told that Vault is well.
        return VaultStanding(endpoint.url, endpoint.auth_type)
    try:
        body = answer.json()
    except ValueError:
        body = None
    version = body.get("version") if isinstance(body, Mapping) else None
    return VaultStanding(
        endpoint.url,
        endpoint.auth_type,
        version if isinstance(version, str) else None,
        answer.headers.get("Date"),
    )
