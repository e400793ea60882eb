"""An access token as it stands in the store that a fleet shares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.auth.slot import Record
from airflow_provider_bloq.auth.token import LONGEST_BELIEVED_LIFETIME, token_in
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["SharedToken"]


@dataclass(frozen=True, slots=True)
class SharedToken:
    """The token, and what it takes to judge it. Refresh token and client keys are never here.

    :param secret: The access token.
    :param lifetime: Seconds that it still had when it was written.
    :param accounts_url: Accounts that it was minted at.
    :param client_id: Client ID that it was minted from.
    :param key_version: KV version of the client keys that it was minted from; None without versions.
    :param minted_at: When it was issued, by the clock of Accounts, in epoch seconds; None where it does
        not say. For people: nothing is decided by it.
    """

    secret: Secret
    lifetime: float
    accounts_url: str
    client_id: str
    key_version: int | None = None
    minted_at: float | None = None

    def fields(self) -> dict[str, Any]:
        """Give the record that is written."""
        return {
            "access_token": self.secret.reveal(),
            "lifetime": self.lifetime,
            "accounts_url": self.accounts_url,
            "client_id": self.client_id,
            "key_version": self.key_version,
            "minted_at": self.minted_at,
        }

    @classmethod
    def of(cls, record: Record, where: str) -> SharedToken:
        """Read a record; whatever does not look like one of :meth:`fields` is refused.

        :param record: What was read.
        :param where: Where it was read, for the error.
        :raises BloqConfigurationError: It is none. No value is quoted: it may be another's secret.
        """
        # Read elsewhere, and by nothing that raises: what shows local variables with a traceback finds none of it.
        token = _read(record)
        if token is None:
            raise BloqConfigurationError.of(
                "shared_vault_path",
                f"{where} holds a secret that is no shared access token",
                "Choose a path that nothing else uses; who has written there can be told from Vault's audit log",
            )
        return token

    def require_accounts(self, accounts_url: str, where: str) -> None:
        """Refuse a token of another Accounts, such as that of the staging environment.

        :raises BloqConfigurationError: It is one.
        """
        if self.accounts_url != accounts_url:
            raise BloqConfigurationError.of(
                "shared_vault_path",
                f"the token in {where} was minted at {self.accounts_url[:200]!r}, the connection names"
                f" {accounts_url!r}",
                "Give each environment a shared_vault_path of its own, or correct the host",
            )


def _read(record: Record) -> SharedToken | None:
    fields = record.fields or {}
    secret, lifetime = token_in(fields, "access_token"), _number(fields.get("lifetime"))
    accounts_url, client_id = fields.get("accounts_url"), fields.get("client_id")
    key_version = fields.get("key_version")
    if (
        secret is None
        or lifetime is None
        or not 0 <= lifetime <= LONGEST_BELIEVED_LIFETIME
        or not isinstance(accounts_url, str)
        or not isinstance(client_id, str)
        or not (key_version is None or isinstance(key_version, int))
    ):
        return None
    minted_at = _number(fields.get("minted_at"))
    return SharedToken(secret, lifetime, accounts_url, client_id, key_version, minted_at)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
