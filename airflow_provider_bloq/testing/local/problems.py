"""Error answers of the service: one exception, written in the format that the options choose."""

from __future__ import annotations

import json
from http import HTTPStatus

from aiohttp import web

from airflow_provider_bloq.testing.local.options import LocalBloqOptions

__all__ = [
    "ApiProblem",
    "problem_response",
]


class ApiProblem(Exception):
    """A request is answered with an error.

    :param status: HTTP status.
    :param code: Machine-readable reason, such as ``LimitExceeded``.
    :param detail: Human-readable reason.
    :param plain: Text to answer with instead of an object.
    :param headers: Further headers.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        plain: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.plain = plain
        self.headers = headers or {}


def problem_response(problem: ApiProblem, options: LocalBloqOptions) -> web.Response:
    """Return the answer as plain text, as problem details (RFC 9457) or as the older ``{code, message}``."""
    if problem.plain is not None:
        return web.Response(status=problem.status, text=problem.plain, headers=problem.headers)
    if options.error_shape == "code":
        content_type = "application/json"
        body: dict[str, object] = {"code": problem.code, "message": problem.detail}
    else:
        content_type = "application/problem+json"
        body = {
            "status": problem.status,
            "title": _title(problem.status),
            "code": problem.code,
            "detail": problem.detail,
        }
    return web.Response(
        status=problem.status, text=json.dumps(body), content_type=content_type, headers=problem.headers
    )


def _title(status: int) -> str:
    known = {item.value: item.phrase for item in HTTPStatus}
    return known.get(status, "Unknown")
