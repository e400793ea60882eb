"""What a command shows: colours and tables on a terminal, plain lines in a pipe, or JSON."""

from __future__ import annotations

import json
import os
import socket
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from airflow_provider_bloq.auth.token import claims_of
from airflow_provider_bloq.doctor.checks import examine
from airflow_provider_bloq.doctor.report import CheckOutcome, Finding
from airflow_provider_bloq.flow.events import duration
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.nodes.models import STOPPED

__all__ = [
    "Screen",
    "call",
    "doctor",
    "list_nodes",
    "params_of",
    "show_token",
]


class Screen:
    """Where a command writes.

    :param as_json: Whether it writes JSON, and nothing else.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._out = Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True)
        self._aside = Console(file=sys.stderr, highlight=False, markup=False, soft_wrap=True)
        self._progress: Progress | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at what is written."""
        return self._out.is_terminal and not self.as_json

    @contextmanager
    def busy(self, doing: str) -> Iterator[None]:
        """Show that something is under way that may take a while, and for how long already; in a pipe, nothing.

        How much of it is left is known to nobody, so the bar moves and does not fill.

        :param doing: What.
        """
        if not self._aside.is_terminal:
            yield
            return
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._aside, transient=True) as self._progress:
            self._progress.add_task(doing, total=None)
            yield
        self._progress = None

    def doing(self, what: str) -> None:
        """Say what is under way now, where :meth:`busy` shows something."""
        if self._progress is not None:
            (task,) = self._progress.task_ids
            self._progress.update(task, description=what)

    def line(self, *parts: tuple[str, str]) -> None:
        """Write a line.

        :param parts: Texts with their styles, such as ``("ok", "green")``; a pipe gets the texts.
        """
        if self.is_terminal:
            self._out.print(Text.assemble(*parts))
        else:
            print("".join(text for text, _ in parts), flush=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write a table; in a pipe, a line per row whose columns stand below each other.

        :param columns: The headings.
        :param rows: The rows.
        """
        rows = [[str(cell) for cell in row] for row in rows]
        if self.is_terminal:
            table = Table(*columns)
            for row in rows:
                table.add_row(*map(Text, row))
            # Cut to the terminal's width, whereas lines are not.
            self._out.print(table, soft_wrap=False)
            return
        lines = [[name.upper() for name in columns], *rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
        for line in lines:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

    def json(self, value: Any) -> None:
        """Write JSON.

        :param value: What to write.
        """
        text = json.dumps(value, indent=2)
        if self.is_terminal:
            self._out.print_json(text)
        else:
            print(text)

    def complain(self, text: str) -> None:
        """Write to the standard error what went wrong."""
        self._aside.print(Text(text, "red"))


def list_nodes(arguments: Namespace, screen: Screen) -> int:
    """List the nodes of the account; those that were deleted only if they are asked for."""
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


def call(arguments: Namespace, screen: Screen) -> int:
    """Call a method of a node or cluster, and write its result as JSON."""
    hook = BloqHook(arguments.conn_id)
    with screen.busy(f"Calling {arguments.method} …"):
        rpc = hook.rpc(arguments.node, tls_fingerprint=arguments.tls_fingerprint)
        result = rpc.call(arguments.method, params_of(arguments.params))
    screen.json(result)
    return 0


def params_of(words: Sequence[str]) -> list[Any] | dict[str, Any]:
    """Read the parameters of a call.

    :param words: One JSON list or object; or the parameters one by one, of which what is no JSON is a text.
    """
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


_TIMES = ("iat", "nbf", "exp")


def show_token(arguments: Namespace, screen: Screen) -> int:
    """Get an access token as a task would, and show its claims and how long it lives; never the token."""
    hook = BloqHook(arguments.conn_id)
    with screen.busy("Getting an access token …"):
        token = hook.run(hook.bearer.provider.token())
    lives = hook.bearer.provider.expires_in or 0.0
    claims = claims_of(token.secret)
    if screen.as_json:
        screen.json({"claims": claims, "expires_in": round(lives, 1)})
        return 0
    rows = [(name, _shown(name, value)) for name, value in claims.items()]
    screen.table(("claim", "value"), [*rows, ("", f"lives {duration(lives)}")])
    if not claims:
        screen.line(("The token is no JWT: it says nothing of itself.", "dim"))
    return 0


def _shown(name: str, value: Any) -> str:
    if name in _TIMES and isinstance(value, int | float):
        return f"{value} ({datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC)"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


_STYLES = {
    CheckOutcome.PASSED: "green",
    CheckOutcome.WARNED: "yellow",
    CheckOutcome.FAILED: "bold red",
    CheckOutcome.SKIPPED: "dim",
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
    good = all(finding.outcome is not CheckOutcome.FAILED for finding in findings)
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
