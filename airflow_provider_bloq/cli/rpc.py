"""``rpc``: one JSON-RPC call."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from airflow_provider_bloq.cli.screen import Screen
from airflow_provider_bloq.hooks.bloq import BloqHook

__all__ = ["call", "params_of"]


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
