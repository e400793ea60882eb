"""The staged check behind the Test button: keys, token, Nodes, Connect."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field, replace

from airflow_provider_bloq.auth.flow import Flow, Request, send
from airflow_provider_bloq.auth.supply import TokenSupply
from airflow_provider_bloq.clients.connect_chains import REST_CHAINS
from airflow_provider_bloq.clients.models import STOPPED
from airflow_provider_bloq.clients.nodes import NodesApi
from airflow_provider_bloq.clients.retry import IMPATIENT
from airflow_provider_bloq.exceptions import BloqError, BloqSharedTokenStale, BloqUnavailable
from airflow_provider_bloq.hooks.connection import read_settings
from airflow_provider_bloq.hooks.masking import mask
from airflow_provider_bloq.hooks.wiring import Account, network_of
from airflow_provider_bloq.transport.blocking import BlockingDriver

__all__ = ["check_connection"]

#: A person waits for the result. Seconds for each request, whatever the connection says.
TIMEOUT = 10.0


@dataclass(slots=True)
class _Report:
    """How far the check has come.

    :param stage: The stage under way.
    :param remedy: What to look at where it fails with an error that names no remedy of its own.
    :param lines: What was found so far.
    """

    stage: str = "Connection"
    remedy: str = ""
    lines: list[str] = field(default_factory=list)

    def begin(self, stage: str, remedy: str = "") -> None:
        """Go on to the next stage."""
        self.stage, self.remedy = stage, remedy

    def passed(self, found: str) -> None:
        """Note that the stage under way has passed."""
        self.lines.append(f"{self.stage}: {found}")

    def failed(self, error: Exception) -> None:
        """Note that the stage under way has ended the check."""
        remedy = f" {self.remedy}" if self.remedy and isinstance(error, BloqUnavailable) else ""
        self.lines.append(f"{self.stage}: FAILED. {error}{remedy}")

    def __str__(self) -> str:
        where = f"host {socket.gethostname()}, process {os.getpid()}"
        return "\n".join(
            [*self.lines, f"Checked on {where}; workers may see the network and Vault differently."]
        )


def check_connection(conn_id: str) -> tuple[bool, str]:
    """Check a connection stage by stage, with a client of its own that shares nothing.

    A process that lives on, such as the API server, must not keep the token of a test: it would come
    back as the answer of the next test, or be handed to tasks that are forked from here.

    :param conn_id: Id of the connection.
    :return: Whether it works, and what each stage found or what ended it. Holds no secret.
    """
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    report = _Report()
    driver = None
    try:
        settings = read_settings(conn_id)
        settings = replace(settings, timeout=min(settings.timeout, TIMEOUT))
        account = Account.of(settings, mask, IMPATIENT)
        driver = BlockingDriver(network_of(settings), mask=mask)
        driver.run(_stages(account, report))
    except (BloqError, AirflowNotFoundException) as error:
        report.failed(error)
        return False, str(report)
    finally:
        if driver is not None:
            driver.close()
    return True, str(report)


def _stages(account: Account, report: _Report) -> Flow[None]:
    """Go through the stages, noting each; the first that fails raises."""
    settings = account.settings
    if account.source is None:
        provider: TokenSupply = yield from _shared(account, report)
    else:
        provider = yield from _minted(account, account.source.description, report)
        if account.store is not None:
            yield from _shared_by_member(account, report)

    report.begin("Nodes", "Is nodes_url right, and may this machine reach it?")
    api = NodesApi(url=settings.nodes_url, bearer=account.bearer(provider), policy=account.policy)
    nodes = yield from NodesApi.list.flow(api)
    running = sum(node.state != STOPPED for node in nodes)
    report.passed(f"{settings.nodes_url} accepts the token; {running} node(s) running.")

    report.begin("Connect")
    report.passed((yield from _connect(settings.connect_url.replace("{chain}", REST_CHAINS[0]))))


def _minted(account: Account, where: str, report: _Report) -> Flow[TokenSupply]:
    """Read the client keys and mint a token of the check's own."""
    ladder = account.ladder()
    report.begin("Client keys")
    try:
        yield from ladder.token()
    finally:
        if ladder.has_keys:
            version = f", version {ladder.key_version}" if ladder.key_version is not None else ""
            report.passed(f"found in {where}{version}.")
            report.begin("Access token", "Is the host (Accounts) right, and may this machine reach it?")
    report.passed(f"minted at {account.settings.accounts_url}, lives {_told(ladder.expires_in or 0.0)}.")
    return ladder


def _shared(account: Account, report: _Report) -> Flow[TokenSupply]:
    """Read the token that others share; nobody is waited for."""
    report.begin("Shared token")
    reader = account.shared(None, patience=0.0)
    yield from reader.token()
    report.passed(f"found where it is shared, lives {_told(reader.expires_in or 0.0)}.")
    return reader


def _shared_by_member(account: Account, report: _Report) -> Flow[None]:
    try:
        yield from _shared(account, report)
    except BloqSharedTokenStale as stale:
        report.passed(f"none at {stale.path} at present; the next task that needs one renews it for all.")


def _connect(url: str) -> Flow[str]:
    """Connect has left Bloq's documentation, so that a connection may do without it."""
    try:
        response = yield from send(Request("GET", f"{url}/status"))
    except BloqUnavailable:
        return f"{url} is not reachable. That is all right if you do not use it."
    return f"{url} answers ({response.status})."


def _told(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
