"""The staged check behind the Test button: keys, token, Nodes, Connect."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import Any

from airflow_provider_bloq.auth.flow import Flow, Request, send
from airflow_provider_bloq.clients.models import STOPPED, Node
from airflow_provider_bloq.clients.nodes import NodesApi
from airflow_provider_bloq.clients.retry import IMPATIENT
from airflow_provider_bloq.exceptions import BloqError, BloqUnavailable
from airflow_provider_bloq.hooks.connection import read_settings
from airflow_provider_bloq.hooks.masking import mask
from airflow_provider_bloq.hooks.wiring import CONNECT_CHAINS, Account, key_source_of, network_of
from airflow_provider_bloq.transport.blocking import BlockingDriver

__all__ = ["check_connection"]

#: A person waits for the result. Seconds for each request, whatever the connection says.
TIMEOUT = 10.0


def check_connection(conn_id: str) -> tuple[bool, str]:
    """Check a connection stage by stage, with a client of its own that shares nothing.

    A process that lives on, such as the API server, must not keep the token of a test: it would come
    back as the answer of the next test, or be handed to tasks that are forked from here.

    :param conn_id: Id of the connection.
    :return: Whether it works, and what each stage found or what ended it. Holds no secret.
    """
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    found: list[str] = []
    driver = None
    try:
        settings = read_settings(conn_id)
        settings = replace(settings, timeout=min(settings.timeout, TIMEOUT))
        account = Account(settings, key_source_of(settings, mask), IMPATIENT)
        driver = BlockingDriver(network_of(settings), mask=mask)
        driver.run(_stages(account, found))
    except (BloqError, AirflowNotFoundException) as error:
        return False, _told([*found, f"FAILED: {error}"])
    finally:
        if driver is not None:
            driver.close()
    return True, _told(found)


def _stages(account: Account, found: list[str]) -> Flow[None]:
    """Go through the stages, noting each; the first that fails raises."""
    settings = account.settings
    provider = account.provider()
    yield from provider.token()
    version = f", version {provider.key_version}" if provider.key_version is not None else ""
    found.append(f"Client keys: found in {account.source.description}{version}.")
    found.append(f"Access token: minted at {settings.accounts_url}, lives {_minutes(provider.expires_in)}.")
    api = NodesApi(url=settings.nodes_url, bearer=account.bearer(provider), policy=account.policy)
    nodes: list[Node] = yield from NodesApi.list.flow(api)
    running = sum(node.state != STOPPED for node in nodes)
    found.append(f"Nodes: {settings.nodes_url} accepts the token; {running} node(s) running.")
    found.append((yield from _connect(settings.connect_url.replace("{chain}", CONNECT_CHAINS[0]))))


def _connect(url: str) -> Flow[str]:
    """Connect has left Bloq's documentation, so that a connection may do without it."""
    try:
        response: Any = yield from send(Request("GET", f"{url}/status"))
    except BloqUnavailable:
        return f"Connect: {url} is not reachable. That is all right if you do not use it."
    return f"Connect: {url} answers ({response.status})."


def _minutes(seconds: float | None) -> str:
    return f"{(seconds or 0) / 60:.0f} min" if seconds and seconds >= 120 else f"{seconds or 0:.0f} s"


def _told(lines: list[str]) -> str:
    where = f"Checked on host {socket.gethostname()}, process {os.getpid()}; workers may see the network differently."
    return "\n".join([*lines, where])
