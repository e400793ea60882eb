"""A task in the small: a token provider over the keys in Vault, and calls of Nodes with it."""

from __future__ import annotations

import importlib

from airflow_provider_bloq.accounts.client import AccountsTokenEndpoint
from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider
from airflow_provider_bloq.connection.settings import VaultLocation
from airflow_provider_bloq.flow.retry import RetryPolicy
from airflow_provider_bloq.flow.sync_driver import SyncDriver
from airflow_provider_bloq.nodes.client import NodesClient
from airflow_provider_bloq.vault.key_source import VaultKeySource
from tests.support.drivers import PATIENT

__all__ = ["Caller"]


class Caller:
    """Calls Nodes with what it reads from Vault as a worker. Like a task, it keeps its tokens."""

    def __init__(self, accounts_url: str, nodes_url: str, conn_id: str, path: str) -> None:
        self._urls = (accounts_url, nodes_url)
        self._location = VaultLocation(conn_id, path)
        self._driver = SyncDriver(PATIENT, mask=lambda _: None)
        self.start_anew()

    def start_anew(self) -> None:
        """Be another task: with nothing in hand."""
        accounts_url, nodes_url = self._urls
        self._source = VaultKeySource(self._location, timeout=30.0)
        provider = ClientKeysTokenProvider(AccountsTokenEndpoint(accounts_url, RetryPolicy()), self._source)
        bearer = BearerAuth(provider, TrustedOrigins([Origin.of(accounts_url), Origin.of(nodes_url)]))
        self._nodes = NodesClient(self._driver.run, url=nodes_url, bearer=bearer, policy=RetryPolicy())

    def call(self) -> None:
        self._nodes.list()

    def warm_up(self) -> None:
        """Load what a call loads, and read the connection; sends nothing."""
        importlib.import_module("jwt")
        assert self._source.identity

    def close(self) -> None:
        self._driver.close()
