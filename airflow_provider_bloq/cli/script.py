"""``airflow-bloq``: the commands without Airflow's command line, which has had those of providers since 3.2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from airflow_provider_bloq.cli.commands import COMMANDS, Group
from airflow_provider_bloq.cli.running import run

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Call a command.

    :param arguments: The command line; None for that of the process.
    :return: 0 if all is well, 1 if not; what cannot be understood ends the process with 2.
    """
    parser = argparse.ArgumentParser(prog="airflow-bloq", description=COMMANDS.help)
    _add(parser, COMMANDS)
    wanted = parser.parse_args(arguments)
    return run(wanted.target, wanted)


def _add(parser: argparse.ArgumentParser, group: Group) -> None:
    below: Any = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in group.commands:
        added = below.add_parser(command.name, help=command.help, description=command.help)
        if isinstance(command, Group):
            _add(added, command)
            continue
        for argument in command.arguments:
            added.add_argument(*argument.flags, **argument.options)
        added.set_defaults(target=command.target)


if __name__ == "__main__":
    sys.exit(main())
