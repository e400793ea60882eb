"""What a command shows: colours and tables on a terminal, plain lines in a pipe, or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

__all__ = ["Screen"]


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
