"""The commands for Airflow's own command line, which finds them through the provider's metadata (3.2 and later)."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

from airflow_provider_bloq.cli.commands import COMMANDS, Command, Group

__all__ = ["get_cli_commands"]


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
        from airflow_provider_bloq.cli.running import run

        # Airflow takes no notice of what a command returns.
        raise SystemExit(run(target, arguments))

    return call
