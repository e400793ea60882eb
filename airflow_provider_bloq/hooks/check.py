"""The staged check of a connection: behind the Test button in short, behind ``doctor`` thoroughly."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from airflow_provider_bloq.clients.retry import IMPATIENT
from airflow_provider_bloq.exceptions import BloqError
from airflow_provider_bloq.hooks.check_clock import Clocks
from airflow_provider_bloq.hooks.check_findings import Finding, Outcome, Stage
from airflow_provider_bloq.hooks.check_remedies import failed
from airflow_provider_bloq.hooks.check_stages import Examination
from airflow_provider_bloq.hooks.connection import read_settings
from airflow_provider_bloq.hooks.masking import mask
from airflow_provider_bloq.hooks.services import ServiceNames
from airflow_provider_bloq.hooks.wiring import Account, network_of
from airflow_provider_bloq.settings.connection import BloqSettings
from airflow_provider_bloq.transport.blocking import BlockingDriver

__all__ = ["check_connection", "examine"]

#: A person waits for the result. Seconds for each request, whatever the connection says.
TIMEOUT = 10.0
#: The first stage: reading the connection comes before there is anything to drive flows.
_CONNECTION = "Connection"


def check_connection(conn_id: str) -> tuple[bool, str]:
    """Check a connection up to the first stage that fails.

    :param conn_id: Id of the connection.
    :return: Whether it works, and what each stage found or what ended it. Holds no secret.
    """
    lines: list[str] = []
    good = True
    for finding in examine(conn_id):
        if finding.outcome is Outcome.FAILED:
            good = False
            lines.append(f"{finding.stage}: FAILED. {finding.told}")
            break
        # That the connection can be read is nothing to tell somebody who is just editing it.
        if finding.stage != _CONNECTION:
            lines.append(f"{finding.stage}: {finding.found}")
    where = f"host {socket.gethostname()}, process {os.getpid()}"
    lines.append(f"Checked on {where}; workers may see the network and Vault differently.")
    return good, "\n".join(lines)


def examine(
    conn_id: str,
    *,
    thorough: bool = False,
    node: str | None = None,
    begin: Callable[[str], None] = lambda stage: None,
    now: Callable[[], float] = time.time,
) -> Iterator[Finding]:
    """Check a connection stage by stage, with a client of its own that shares nothing.

    A process that lives on, such as the API server, must not keep the token of a test: it would come
    back as the answer of the next test, or be handed to tasks that are forked from here.

    :param conn_id: Id of the connection.
    :param thorough: Whether to look at what takes longer, and at what is no part of the connection, too: the
        login at Vault, the refresh of tokens, the clock, a node's JSON-RPC and certificate.
    :param node: Id of the node or cluster whose JSON-RPC is called; None for any node.
    :param begin: Is told the name of each stage when it begins.
    :param now: The wall clock of this machine, in epoch seconds.
    :return: What each stage has found, as soon as it is known. There is no secret in it.
    """
    begin(_CONNECTION)
    started = time.monotonic()
    settings, finding = _read(conn_id, started)
    yield finding
    if settings is None:
        return
    settings = replace(settings, timeout=min(settings.timeout, TIMEOUT))
    clocks = Clocks(ServiceNames.of(settings).name, now)
    examination = Examination(Account.of(settings, mask, IMPATIENT), clocks, node)
    driver = BlockingDriver(network_of(settings), mask=mask, observe=examination.observe)
    lacking: set[str] = set()
    try:
        for stage in examination.stages(thorough=thorough):
            begin(stage.name)
            finding = _found(stage, driver, lacking)
            if finding.outcome in (Outcome.FAILED, Outcome.SKIPPED):
                lacking.add(stage.name)
            yield finding
    finally:
        driver.close()


def _read(conn_id: str, started: float) -> tuple[BloqSettings | None, Finding]:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    try:
        settings = read_settings(conn_id)
    except (BloqError, AirflowNotFoundException) as error:
        return None, failed(_CONNECTION, error, time.monotonic() - started)
    found = f"{conn_id!r} can be read: environment {settings.environment}, {_keys_of(settings)}."
    return settings, Finding(_CONNECTION, Outcome.PASSED, found, seconds=time.monotonic() - started)


def _keys_of(settings: BloqSettings) -> str:
    if settings.vault is not None:
        return "client keys from Vault"
    return "client keys of its own" if settings.client_keys is not None else "no client keys, a shared token"


def _found(stage: Stage, driver: BlockingDriver, lacking: set[str]) -> Finding:
    missing = next((name for name in stage.needs if name in lacking), None)
    if missing is not None:
        return Finding(stage.name, Outcome.SKIPPED, f"not tried: it needs {missing}.")
    started = time.monotonic()
    try:
        found = driver.run(stage.look())
    except BloqError as error:
        return failed(stage.name, error, time.monotonic() - started, stage.remedy)
    seconds = time.monotonic() - started
    told = f"{found.text} {found.remedy}".rstrip()
    return Finding(stage.name, found.outcome, found.text, found.remedy, seconds, told)
