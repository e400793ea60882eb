"""What the commands do, and how they show it: colours and tables on a terminal, plain lines in a pipe, or JSON."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from airflow_provider_bloq.auth.token_provider import claims_of
from airflow_provider_bloq.doctor.checks import check_stages
from airflow_provider_bloq.doctor.report import CheckOutcome, Finding
from airflow_provider_bloq.exceptions import BloqError
from airflow_provider_bloq.flow.events import duration
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.nodes.models import STOPPED

__all__ = [
    "run",
]

#: Airflow's database may be asked for connections only in such a process; Airflow's commands set it as well.
_PROCESS_CONTEXT = "_AIRFLOW_PROCESS_CONTEXT"


def run(action: str, arguments: Namespace) -> int:
    """Perform an action.

    :param action: ``doctor``, ``list_nodes``, ``show_token`` or ``call_rpc``.
    :param arguments: The arguments of its command.
    :return: The exit code: 0 for success, 1 for failure, 130 for an interruption.
    """
    os.environ.setdefault(_PROCESS_CONTEXT, "server")
    screen = Screen(as_json=arguments.output)
    with _warnings_only():
        try:
            return _ACTIONS[action](arguments, screen)
        except (BloqError, AirflowNotFoundException) as error:
            screen.error(str(error))
            return 1
        except KeyboardInterrupt:
            return 130


@contextmanager
def _warnings_only() -> Iterator[None]:
    """Keep log lines about tokens out of the output."""
    log = logging.getLogger("airflow_provider_bloq")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


class Screen:
    """The output of a command.

    :param as_json: Whether to write JSON only.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._stdout = Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True)
        self._stderr = Console(file=sys.stderr, highlight=False, markup=False, soft_wrap=True)
        self._progress: Progress | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the output goes to a person."""
        return self._stdout.is_terminal and not self.as_json

    @contextmanager
    def busy(self, doing: str) -> Iterator[None]:
        """Show on a terminal that something is in progress, and the elapsed time.

        The bar moves but does not fill, since the remaining time is unknown.

        :param doing: What is in progress.
        """
        if not self._stderr.is_terminal:
            yield
            return
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._stderr, transient=True) as self._progress:
            self._progress.add_task(doing, total=None)
            yield
        self._progress = None

    def update_busy(self, doing: str) -> None:
        """Change the text that :meth:`busy` shows."""
        if self._progress is not None:
            (task,) = self._progress.task_ids
            self._progress.update(task, description=doing)

    def line(self, *parts: tuple[str, str]) -> None:
        """Write a line.

        :param parts: Texts with their styles, such as ``("ok", "green")``; in a pipe, styles are dropped.
        """
        if self.is_terminal:
            self._stdout.print(Text.assemble(*parts))
        else:
            print("".join(text for text, _ in parts), flush=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write a table; in a pipe, plain aligned columns.

        :param columns: The headings.
        :param rows: The rows.
        """
        rows = [[str(cell) for cell in row] for row in rows]
        if self.is_terminal:
            table = Table(*columns)
            for row in rows:
                table.add_row(*map(Text, row))
            # Unlike lines, tables are cut to the terminal's width.
            self._stdout.print(table, soft_wrap=False)
            return
        lines = [[name.upper() for name in columns], *rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
        for line in lines:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

    def json(self, value: Any) -> None:
        """Write JSON."""
        text = json.dumps(value, indent=2)
        if self.is_terminal:
            self._stdout.print_json(text)
        else:
            print(text)

    def error(self, text: str) -> None:
        """Write an error to standard error."""
        self._stderr.print(Text(text, "red"))


def doctor(arguments: Namespace, screen: Screen) -> int:
    """Check a connection and show the finding of each stage.

    :return: 1 if a stage failed, else 0.
    """
    findings = []
    for finding in _findings(arguments, screen):
        findings.append(finding)
        if not screen.as_json:
            _show(finding, screen)
    good = all(finding.outcome is not CheckOutcome.FAILED for finding in findings)
    host = socket.gethostname()
    if screen.as_json:
        screen.json(
            {
                "connection": arguments.conn_id,
                "good": good,
                "host": host,
                "process": os.getpid(),
                "stages": [finding.as_json() for finding in findings],
            }
        )
    else:
        screen.line((f"Checked on host {host}; workers may see the network and Vault differently.", "dim"))
    return 0 if good else 1


def _findings(arguments: Namespace, screen: Screen) -> Iterator[Finding]:
    """Yield the findings one by one, and show that each check is in progress."""
    findings = check_stages(
        arguments.conn_id,
        thorough=True,
        node=arguments.node,
        begin=lambda stage: screen.update_busy(f"{stage} …"),
    )
    while True:
        with screen.busy(f"Checking {arguments.conn_id} …"):
            finding = next(findings, None)
        if finding is None:
            return
        yield finding


_STYLES = {
    CheckOutcome.PASSED: "green",
    CheckOutcome.WARNED: "yellow",
    CheckOutcome.FAILED: "bold red",
    CheckOutcome.SKIPPED: "dim",
}
_INDENT = " " * 9


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


def list_nodes(arguments: Namespace, screen: Screen) -> int:
    """List the nodes of the account, by default without the deleted ones."""
    with screen.busy("Listing nodes …"):
        listed = BloqHook(arguments.conn_id).nodes.list()
    nodes = [node for node in listed if arguments.all or node.state != STOPPED]
    if screen.as_json:
        screen.json([node.public() for node in nodes])
        return 0
    rows = [
        (node.id, node.chain, node.network, node.state, node.address or "", node.created_at or "")
        for node in nodes
    ]
    screen.table(("id", "chain", "network", "state", "address", "created"), rows)
    return 0


def show_token(arguments: Namespace, screen: Screen) -> int:
    """Get an access token as a task does, and show its claims and its lifetime, never the token itself."""
    hook = BloqHook(arguments.conn_id)
    with screen.busy("Getting an access token …"):
        token = hook.run(hook.bearer.provider.token())
    expires_in = hook.bearer.provider.expires_in or 0.0
    claims = claims_of(token.secret)
    if screen.as_json:
        screen.json({"claims": claims, "expires_in": round(expires_in, 1)})
        return 0
    rows = [(name, _claim_text(name, value)) for name, value in claims.items()]
    screen.table(("claim", "value"), [*rows, ("", f"expires in {duration(expires_in)}")])
    if not claims:
        screen.line(("The token is not a JWT, so it has no claims.", "dim"))
    return 0


def _claim_text(name: str, value: Any) -> str:
    if name in ("iat", "nbf", "exp") and isinstance(value, int | float):
        return f"{value} ({datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC)"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def call_rpc(arguments: Namespace, screen: Screen) -> int:
    """Call a method of a node or cluster and write its result as JSON."""
    hook = BloqHook(arguments.conn_id)
    with screen.busy(f"Calling {arguments.method} …"):
        rpc = hook.rpc(arguments.node, tls_fingerprint=arguments.tls_fingerprint)
        result = rpc.call(arguments.method, _params_of(arguments.params))
    screen.json(result)
    return 0


def _params_of(words: Sequence[str]) -> list[Any] | dict[str, Any]:
    """Read the parameters of a call: one JSON list or object, or one parameter per word, JSON or plain text."""
    values = [_value(word) for word in words]
    if len(values) == 1 and isinstance(values[0], list | dict):
        whole: list[Any] | dict[str, Any] = values[0]
        return whole
    return values


def _value(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return word


_ACTIONS: dict[str, Callable[[Namespace, Screen], int]] = {
    action.__name__: action for action in (doctor, list_nodes, show_token, call_rpc)
}
