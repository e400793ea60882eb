"""From an HTTP response that is no success to the typed error for it."""

from __future__ import annotations

from typing import Any

from airflow_provider_bloq.auth import safe_json
from airflow_provider_bloq.auth.flow import Request, Response
from airflow_provider_bloq.clients.retry import retry_after
from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqNotFound,
    BloqQuotaExceeded,
    BloqRateLimited,
    BloqUnavailable,
)

__all__ = ["error_of", "json_of"]

_REQUEST_ID_HEADERS = ("x-request-id", "x-amzn-requestid", "x-correlation-id", "request-id")
#: A body is quoted from its fields only, and these no longer than this.
_LONGEST_TEXT = 300


def error_of(request: Request, response: Response) -> BloqApiError:
    """Return the error that a response stands for. Knows both shapes of error body that Bloq has
    used: ``{code, message}`` and problem details (RFC 9457).

    :param request: What was asked.
    :param response: An answer with any status but a success.
    """
    body = _object_of(response)
    code, title = _text(body, "code"), _text(body, "title")
    detail = _text(body, "detail") or _text(body, "message")
    url = request.url.partition("?")[0]
    told = ": ".join(dict.fromkeys(part for part in (code, title, detail) if part))
    message = f"{request.method} {url} answered {response.status}" + (f": {told}" if told else "")
    fields: dict[str, Any] = {
        "status": response.status,
        "code": code,
        "title": title,
        "detail": detail,
        "request_id": next(
            (response.headers[name] for name in _REQUEST_ID_HEADERS if name in response.headers), None
        ),
        "method": request.method,
        "url": url,
    }
    if response.status == 429:
        return BloqRateLimited(message, retry_after=retry_after(response), **fields)
    if code == "LimitExceeded":
        remedy = "The account already runs as many nodes as its plan allows. Delete one or ask Bloq for a larger plan."
        return BloqQuotaExceeded(f"{message}. {remedy}", **fields)
    if response.status == 404:
        return BloqNotFound(message, **fields)
    if response.status >= 500 or response.status in (408, 425):
        return BloqUnavailable(message, **fields)
    return BloqApiError(message, **fields)


def json_of(request: Request, response: Response, *, exact: bool = False) -> Any:
    """Return the JSON of a success.

    :param request: What was asked.
    :param response: What came.
    :param exact: As for :func:`~airflow_provider_bloq.auth.safe_json.loads`.

    :raises BloqUnavailable: The body is something else, such as the page of a proxy in between, or
        it was cut short.
    """
    if response.status == 204 or not response.body:
        return None
    try:
        return safe_json.loads(response.body, exact=exact)
    except ValueError:
        kind = response.headers.get("content-type", "no content type")
        url = request.url.partition("?")[0]
        raise BloqUnavailable(
            f"{request.method} {url} answered {response.status} with a body that is no JSON ({kind}, "
            f"{len(response.body)} bytes). Is the URL right, and is there a proxy in between?",
            status=response.status,
            method=request.method,
            url=url,
        ) from None


def _object_of(response: Response) -> dict[str, Any]:
    try:
        body = safe_json.loads(response.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    return value[:_LONGEST_TEXT] if isinstance(value, str) and value else None
