"""The answer to a request for the log of a node or cluster."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from airflow_provider_bloq.testing.local.inbound import positive_integer
from airflow_provider_bloq.testing.local.options import LocalBloqOptions

__all__ = ["log_response"]

# How many lines are shown unless the request says otherwise: what the official client asks for.
_DEFAULT_LINES = "100"
# The official client has no name of its own: it comes as the library that it sends with.
_OFFICIAL_CLIENT = "node-fetch/"


def log_response(log: Iterable[str], request: web.Request, options: LocalBloqOptions) -> web.Response:
    """Write the last ``lines`` lines of a log, as the query of the request says.

    The documents do not tell the shape. The official client reads ``{"data": "<text>"}`` and fails on
    anything else; a node's own ``/logs`` gives a list of lines.

    :raises ApiProblem: ``lines`` is no positive whole number (400).
    """
    wanted = positive_integer(request.query.get("lines", _DEFAULT_LINES), "lines")
    lines = list(log)[-wanted:]
    shape = options.logs_shape
    if shape == "by-client":
        is_official = request.headers.get("User-Agent", "").startswith(_OFFICIAL_CLIENT)
        shape = "text" if is_official else "lines"
    return web.json_response({"data": "\n".join(lines)} if shape == "text" else lines)
