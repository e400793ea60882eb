"""The commands as data, for Airflow's command line and for our own.

Airflow loads this module whenever anything is called on its command line, so it imports next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["COMMANDS", "Argument", "Command", "Group"]

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
            f"{_PACKAGE}.doctor:doctor",
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
                    f"{_PACKAGE}.nodes:list_nodes",
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
            f"{_PACKAGE}.token:show_token",
            (_CONN_ID, _JSON),
        ),
        Command(
            "rpc",
            "Call a JSON-RPC method of a node or cluster",
            f"{_PACKAGE}.rpc:call",
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
