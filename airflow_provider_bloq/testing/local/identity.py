"""The one call by which each kind of cluster says what software it runs, answered where no chain stands behind it.

The official client makes it to show a cluster's software. Everything else of such a chain only the chain could answer.
"""

from __future__ import annotations

import re
from typing import Any

from airflow_provider_bloq.testing.local.catalogue import Offer
from airflow_provider_bloq.testing.local.inbound import read_json

__all__ = ["identity"]

_AVALANCHE_METHOD = "info.getNodeVersion"


def identity(offer: Offer, method: str, path: str, body: bytes) -> dict[str, Any] | None:
    """Return the answer to a request that asks for the software; None if it asks for something else.

    :param offer: What the cluster was made from; its software is what is told.
    """
    major, minor = _version(offer.software)
    match (offer.chain, method, path):
        case ("avalanche", "POST", "/ext/info"):
            call = _call(body)
            if call.get("method") == _AVALANCHE_METHOD:
                version = f"{offer.chain}/{major}.{minor}.0"
                return {"jsonrpc": "2.0", "result": {"version": version}, "id": call.get("id")}
        case ("algorand", "GET", "/versions"):
            return {"build": {"major": major, "minor": minor, "build_number": 0}}
    return None


def _version(software: str) -> tuple[int, int]:
    found = re.search(r"(\d+)\.(\d+)$", software)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _call(body: bytes) -> dict[str, Any]:
    try:
        call = read_json(body)
    except ValueError:
        return {}
    return call if isinstance(call, dict) else {}
