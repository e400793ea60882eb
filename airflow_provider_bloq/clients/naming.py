"""How a node or cluster is named by those who use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["CONNECT", "connect_chain_of", "node_id_of"]

#: What begins the name of a chain's JSON-RPC in Connect, where else the id of a node stands: ``connect:eth``.
CONNECT = "connect:"


def node_id_of(node: Mapping[str, Any] | str, field: str = "node") -> str:
    """Return the id of a node or cluster that is given by its id or by what an operator returned.

    :param field: What an error calls it.
    :raises BloqConfigurationError: It is neither.
    """
    node_id = node.get("id") if isinstance(node, Mapping) else node
    if not isinstance(node_id, str) or not node_id.strip():
        raise BloqConfigurationError.of(
            field, "it has no id", f"Give the id of the {field}, or what the create operator returned."
        )
    if node_id.lstrip().startswith("{"):
        # What Jinja makes of a dict unless the DAG renders templates as native objects.
        raise BloqConfigurationError.of(
            field,
            "it is the text of a dict",
            "Hand on the output of the task itself (create.output), or its id: \"{{ ti.xcom_pull('create')['id'] }}\".",
        )
    return node_id.strip()


def connect_chain_of(node: object, **beside: object) -> str | None:
    """Return the chain whose JSON-RPC in Connect is meant; None if it is that of a node, a cluster or a URL.

    :param node: As operators take it.
    :param beside: What is said of a node besides, such as its port: None for what is not. Connect takes none of it.
    :raises BloqConfigurationError: It is Connect's, and something of a node is said besides.
    """
    if not isinstance(node, str) or not node.strip().startswith(CONNECT):
        return None
    if given := [name for name, value in beside.items() if value]:
        raise BloqConfigurationError.of(
            given[0],
            f"Connect has none that could be chosen, and node is {node.strip()[:80]!r}",
            "Leave it out.",
        )
    return node.strip().removeprefix(CONNECT).strip().lower()
