"""Processes that hold tokens while the client keys are rotated: run as a module.

Reads one order, forks that many holders, reports when each of them has used a token, waits for one more line,
lets each call again, and reports the results.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

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
    """Calls Nodes with the keys in Vault, as a worker. Like a task, it keeps its tokens."""

    def __init__(self, accounts_url: str, nodes_url: str, conn_id: str, path: str) -> None:
        self._urls = (accounts_url, nodes_url)
        self._location = VaultLocation(conn_id, path)
        self._driver = SyncDriver(PATIENT, mask=lambda _: None)
        self.start_anew()

    def start_anew(self) -> None:
        """Start again as a new task, without tokens."""
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


def hold(order: dict[str, Any], report: int, go: int) -> None:
    """Use a token, report, wait, and call again."""
    caller = Caller(order["accounts_url"], order["nodes_url"], order["conn_id"], order["path"])
    try:
        caller.call()
        os.write(report, b"held\n")
        os.read(go, 1)
        caller.call()
        os.write(report, b"served\n")
    except Exception as error:
        os.write(report, f"{type(error).__name__}: {error}".replace("\n", " ").encode()[:400] + b"\n")


def main() -> None:
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    order = json.loads(sys.stdin.readline())
    os.environ.update(order["environment"])
    # Loads Airflow and hvac before the forks, and sends nothing.
    Caller(order["accounts_url"], order["nodes_url"], order["conn_id"], order["path"]).warm_up()
    reading, report = os.pipe()
    go, start = os.pipe()
    children = []
    for _ in range(order["holders"]):
        child = os.fork()
        if child == 0:
            os.close(start)
            try:
                hold(order, report, go)
            finally:
                os._exit(0)
        children.append(child)
    os.close(report)
    answers = os.fdopen(reading)
    first = [answers.readline().strip() for _ in children]
    print(json.dumps(first), file=replies, flush=True)
    sys.stdin.readline()
    # To close it is to wake them all.
    os.close(start)
    second = [answers.readline().strip() for _ in children]
    for child in children:
        os.waitpid(child, 0)
    print(json.dumps(second), file=replies, flush=True)


if __name__ == "__main__":
    main()
