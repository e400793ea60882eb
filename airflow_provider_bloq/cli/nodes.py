"""``nodes``: what the account runs."""

from __future__ import annotations

from argparse import Namespace

from airflow_provider_bloq.cli.screen import Screen
from airflow_provider_bloq.clients.models import STOPPED
from airflow_provider_bloq.hooks.bloq import BloqHook

__all__ = ["list_nodes"]


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
