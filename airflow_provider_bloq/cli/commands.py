"""The commands of ``airflow bloq``, and ``airflow-bloq`` for an Airflow whose command line takes no commands of
providers.

Airflow loads this module for every call of its command line, so it imports next to nothing.
"""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.cli.cli_config import Arg, CLICommand, GroupCommand

__all__ = [
    "get_cli_commands",
    "main",
]


def get_cli_commands() -> list[GroupCommand]:
    """Return the commands in Airflow's own classes."""
    from airflow.cli.cli_config import ActionCommand, GroupCommand

    conn_id = _arg("--conn-id", default="bloq_default", help="id of the connection (default: bloq_default)")
    # Airflow keeps its log lines out of the output of commands with an argument "output".
    as_json = _arg("--json", action="store_true", dest="output", help="write JSON instead of text")
    doctor = ActionCommand(
        "doctor",
        "Check a connection stage by stage: cause and remedy of each failure",
        _call("doctor"),
        (
            conn_id,
            _arg("--node", help="id of the node or cluster to call (default: one of the nodes)"),
            as_json,
        ),
    )
    nodes = GroupCommand(
        "nodes",
        "Nodes of the account",
        (
            ActionCommand(
                "list",
                "List the nodes of the account",
                _call("list_nodes"),
                (conn_id, _arg("--all", action="store_true", help="include deleted nodes"), as_json),
            ),
        ),
    )
    token = ActionCommand(
        "token",
        "Show the claims and the lifetime of the access token, never the token itself",
        _call("show_token"),
        (conn_id, as_json),
    )
    rpc = ActionCommand(
        "rpc",
        "Call a JSON-RPC method of a node or cluster",
        _call("call_rpc"),
        (
            _arg("node", metavar="NODE", help="id of the node or cluster, connect:CHAIN, or a URL"),
            _arg("method", metavar="METHOD", help="method, such as eth_blockNumber"),
            _arg(
                "params",
                metavar="PARAMS",
                nargs="*",
                help="a JSON list or object, or the parameters one by one, each JSON or plain text",
            ),
            conn_id,
            _arg(
                "--tls-fingerprint",
                help="SHA-256 fingerprint of the node's certificate, if the connection does not have it",
            ),
            as_json,
        ),
    )
    help_text = "Bloq Cloud: check connections, list nodes and call them"
    return [GroupCommand("bloq", help_text, (doctor, nodes, token, rpc))]


def _arg(*flags: str, **options: Any) -> Arg:
    from airflow.cli.cli_config import Arg

    make: Any = Arg
    arg: Arg = make(flags, **options)
    return arg


def _call(action: str) -> Callable[[Namespace], None]:
    """Return a function that performs an action and ends the process with its exit code, which Airflow ignores."""

    def call(arguments: Namespace) -> None:
        from airflow_provider_bloq.cli.actions import run

        raise SystemExit(run(action, arguments))

    return call


def main(arguments: Sequence[str] | None = None) -> None:
    """Perform a command, and end the process with its exit code: 2 if the command line is wrong.

    :param arguments: The command line; None for that of the process.
    """
    (bloq,) = get_cli_commands()
    parser = argparse.ArgumentParser(prog="airflow-bloq", description=bloq.help)
    _add_commands(parser, bloq.subcommands)
    parsed = parser.parse_args(arguments)
    parsed.call(parsed)


def _add_commands(parser: argparse.ArgumentParser, commands: Iterable[CLICommand]) -> None:
    from airflow.cli.cli_config import GroupCommand

    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in commands:
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        if isinstance(command, GroupCommand):
            _add_commands(subparser, command.subcommands)
            continue
        for arg in command.args:
            arg.add_to_parser(subparser)
        subparser.set_defaults(call=command.func)


if __name__ == "__main__":
    main()
