"""The commands as data, for Airflow's command line and for our own.

Airflow loads this module whenever anything is called on its command line, so it imports next to nothing.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeAlias

from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

from airflow_provider_bloq.cli.actions import Screen
from airflow_provider_bloq.exceptions import BloqError

__all__ = [
    "COMMANDS",
    "Argument",
    "Command",
    "Group",
    "get_cli_commands",
    "main",
    "run",
]


_PACKAGE = "airflow_provider_bloq.cli"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command.

    :param flags: Its flags, or its name where it is told by its place.
    :param options: What else :meth:`argparse.ArgumentParser.add_argument` is to know.
    """

    flags: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """Something that can be called.

    :param name: Its name.
    :param help: What it does, in one line.
    :param target: The function that does it: its module and name, with a colon between.
    :param arguments: Its arguments.
    """

    name: str
    help: str
    target: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Commands below one name.

    :param name: The name.
    :param help: What they are for, in one line.
    :param commands: The commands.
    """

    name: str
    help: str
    commands: tuple[AnyCommand, ...]


AnyCommand: TypeAlias = Command | Group

_CONN_ID = Argument(
    ("--conn-id",), {"default": "bloq_default", "help": "id of the connection (default: bloq_default)"}
)
# Where there is an argument of this name, Airflow keeps its log lines out of the output.
_JSON = Argument(
    ("--json",), {"action": "store_true", "dest": "output", "help": "write JSON instead of text"}
)
_FINGERPRINT = Argument(
    ("--tls-fingerprint",),
    {"help": "SHA-256 fingerprint of the node's certificate, where the connection does not have it"},
)

COMMANDS = Group(
    "bloq",
    "Bloq Cloud: check connections, look at nodes and call them",
    (
        Command(
            "doctor",
            "Check a connection stage by stage: cause and remedy of whatever does not work",
            f"{_PACKAGE}.actions:doctor",
            (
                _CONN_ID,
                Argument(
                    ("--node",), {"help": "id of the node or cluster to call (default: one of the nodes)"}
                ),
                _JSON,
            ),
        ),
        Group(
            "nodes",
            "Nodes of the account",
            (
                Command(
                    "list",
                    "List the nodes of the account",
                    f"{_PACKAGE}.actions:list_nodes",
                    (
                        _CONN_ID,
                        Argument(
                            ("--all",), {"action": "store_true", "help": "those that were deleted, too"}
                        ),
                        _JSON,
                    ),
                ),
            ),
        ),
        Command(
            "token",
            "Show what the access token says of itself, and when it ends; never the token",
            f"{_PACKAGE}.actions:show_token",
            (_CONN_ID, _JSON),
        ),
        Command(
            "rpc",
            "Call a JSON-RPC method of a node or cluster",
            f"{_PACKAGE}.actions:call",
            (
                Argument(
                    ("node",),
                    {"metavar": "NODE", "help": "id of the node or cluster, connect:CHAIN, or a URL"},
                ),
                Argument(("method",), {"metavar": "METHOD", "help": "method, such as eth_blockNumber"}),
                Argument(
                    ("params",),
                    {
                        "metavar": "PARAMS",
                        "nargs": "*",
                        "help": "a JSON list or object, or the parameters one by one: JSON or plain text each",
                    },
                ),
                _CONN_ID,
                _FINGERPRINT,
                _JSON,
            ),
        ),
    ),
)


#: By this Airflow knows that its database may be asked for connections; its own commands set it as well.
_PROCESS_CONTEXT = "_AIRFLOW_PROCESS_CONTEXT"


def run(target: str, arguments: Namespace) -> int:
    """Run a command.

    :param target: Module and name of its function, with a colon between.
    :param arguments: Its arguments.
    :return: The exit code: 0 if all is well, 1 if not, 130 if it was interrupted.
    """
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    os.environ.setdefault(_PROCESS_CONTEXT, "server")
    screen = Screen(as_json=arguments.output)
    module, _, name = target.partition(":")
    command = getattr(import_module(module), name)
    with _only_warnings():
        try:
            code: int = command(arguments, screen)
        except (BloqError, AirflowNotFoundException) as error:
            screen.complain(str(error))
            return 1
        except KeyboardInterrupt:
            return 130
    return code


@contextmanager
def _only_warnings() -> Iterator[None]:
    """Keep lines about tokens out of what a command shows."""
    log = logging.getLogger("airflow_provider_bloq")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


def get_cli_commands() -> list[GroupCommand]:
    """Return the commands, as Airflow describes commands."""
    return [_group(COMMANDS)]


def _group(group: Group) -> GroupCommand:
    return GroupCommand(
        name=group.name,
        help=group.help,
        subcommands=[
            _group(command) if isinstance(command, Group) else _action(command) for command in group.commands
        ],
    )


def _action(command: Command) -> ActionCommand:
    made: Any = Arg
    arguments = [made(argument.flags, **argument.options) for argument in command.arguments]
    return ActionCommand(name=command.name, help=command.help, func=_called(command.target), args=arguments)


def _called(target: str) -> Callable[[Namespace], None]:
    def call(arguments: Namespace) -> None:

        # Airflow takes no notice of what a command returns.
        raise SystemExit(run(target, arguments))

    return call


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
