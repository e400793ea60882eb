"""Those that a rotation deals with: Accounts, Vault and the journal, each behind a flow."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count

from airflow_provider_bloq.auth.flow import Flow, block, mask, sleep
from airflow_provider_bloq.auth.keys import ClientKeys
from airflow_provider_bloq.auth.ladder import GrantRefused
from airflow_provider_bloq.clients.accounts import AccountsTokenEndpoint
from airflow_provider_bloq.clients.client_keys import AccountLogin, ClientKeysApi, KeyListing
from airflow_provider_bloq.clients.retry import RetryPolicy
from airflow_provider_bloq.rotation.journal import Entry, Journal
from airflow_provider_bloq.vault.rotation import RotationVault, StoredKeys

__all__ = ["Parties", "Rules"]


@dataclass(frozen=True, slots=True)
class Rules:
    """How a rotation is to be done.

    :param grace: Seconds during which both pairs work.
    :param patience: Seconds after which a request to Accounts has surely come to its end.
    :param era: Tells the tries of one run from those after a clear: the task's ``max_tries``, which every
        clear raises.
    :param policy: How patiently requests, proofs and writes are repeated.
    :param clock: Gives the time in epoch seconds.
    """

    grace: float
    patience: float
    era: int
    policy: RetryPolicy
    clock: Callable[[], float] = time.time


class Parties:
    """Opens what it needs at first use, and forgets it with itself: make one for each stretch of work.

    :param accounts_url: Base URL of Accounts.
    :param vault: The two secrets in Vault.
    :param journal: The journal of this rotation.
    :param rules: How the rotation is to be done.
    """

    def __init__(self, *, accounts_url: str, vault: RotationVault, journal: Journal, rules: Rules) -> None:
        self.rules = rules
        self.vault = vault
        self.accounts_url = accounts_url
        self._journal = journal
        self._tokens = AccountsTokenEndpoint(accounts_url, rules.policy)
        self._account: ClientKeysApi | None = None

    def place(self) -> Flow[str]:
        """Name what is rotated: Accounts, and the secret in Vault."""
        secret = yield from block(self.vault.place)
        return f"{self.accounts_url} -> {secret}"

    def entry(self) -> Flow[Entry | None]:
        """Read the journal."""
        value = yield from block(self._journal.read)
        return None if value is None else Entry.from_json(value)

    def note(self, entry: Entry) -> Flow[None]:
        """Write the journal; it is safe when this has ended."""
        yield from block(partial(self._journal.write, entry.to_json()))

    def forget(self) -> Flow[None]:
        """Empty the journal: nothing is under way any more."""
        yield from block(self._journal.clear)

    def read_keys(self) -> Flow[StoredKeys]:
        """Read what Vault holds now, and have its secret masked."""
        stored = yield from block(self.vault.read_keys)
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
            yield from self._tokens.mint(keys, patient=True)
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
            pause = self.rules.policy.pause(attempt, None)
            if pause is None:
                break
            yield from sleep(pause)
        return False

    def served_at(self, listing: KeyListing) -> float:
        """Return when a list was served: by Accounts' clock, or by this machine's where it does not say."""
        return listing.served_at if listing.served_at is not None else self.rules.clock()

    def grace_end(self) -> float:
        """Return when a grace period ends that begins now, in epoch seconds."""
        return self.rules.clock() + self.rules.grace

    def _logged_in(self) -> Flow[ClientKeysApi]:
        if self._account is None:
            user, password = yield from block(self.vault.read_login)
            yield from mask(password)
            login = AccountLogin(user, password, self.vault.account_description)
            self._account = ClientKeysApi(url=self.accounts_url, login=login, policy=self.rules.policy)
        return self._account
