"""How a node or cluster is named by those who use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["node_id_of"]


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
