"""``doctor``: checks a connection stage by stage."""

from __future__ import annotations

import os
import socket
from argparse import Namespace
from collections.abc import Iterator

from airflow_provider_bloq.cli.screen import Screen
from airflow_provider_bloq.hooks.check import examine
from airflow_provider_bloq.hooks.check_findings import Finding, Outcome

__all__ = ["doctor"]

_STYLES = {
    Outcome.PASSED: "green",
    Outcome.WARNED: "yellow",
    Outcome.FAILED: "bold red",
    Outcome.SKIPPED: "dim",
}
_INDENT = " " * 9


def doctor(arguments: Namespace, screen: Screen) -> int:
    """Check a connection, and show what each stage has found.

    :return: 1 if a stage has failed, else 0.
    """
    findings = []
    for finding in _examined(arguments, screen):
        findings.append(finding)
        if not screen.as_json:
            _show(finding, screen)
    good = all(finding.outcome is not Outcome.FAILED for finding in findings)
    where = {"host": socket.gethostname(), "process": os.getpid()}
    if screen.as_json:
        screen.json(
            {
                "connection": arguments.conn_id,
                "good": good,
                **where,
                "stages": [finding.as_json() for finding in findings],
            }
        )
    else:
        screen.line(
            (f"Checked on host {where['host']}; workers may see the network and Vault differently.", "dim")
        )
    return 0 if good else 1


def _examined(arguments: Namespace, screen: Screen) -> Iterator[Finding]:
    """Give the findings one by one, with a sign of life while each is made."""
    findings = examine(
        arguments.conn_id,
        thorough=True,
        node=arguments.node,
        begin=lambda stage: screen.doing(f"{stage} …"),
    )
    while True:
        with screen.busy(f"Checking {arguments.conn_id} …"):
            finding = next(findings, None)
        if finding is None:
            return
        yield finding


def _show(finding: Finding, screen: Screen) -> None:
    outcome = finding.outcome
    screen.line(
        (f"{outcome.upper():<8} ", _STYLES[outcome]),
        (f"{finding.stage:<13}", "bold"),
        (f"{finding.seconds:6.2f} s  ", "dim"),
        (finding.found, ""),
    )
    if finding.remedy:
        screen.line((f"{_INDENT}What to do: ", "bold"), (finding.remedy, ""))
