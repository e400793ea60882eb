"""From an HTTP response that is no success to the typed error for it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from airflow_provider_bloq.auth import safe_json
from airflow_provider_bloq.auth.flow import Request, Response
from airflow_provider_bloq.clients.echoes import without_echoes
from airflow_provider_bloq.clients.retry import retry_after
from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqNotFound,
    BloqQuotaExceeded,
    BloqRateLimited,
    BloqUnavailable,
)

__all__ = ["error_of", "json_of", "object_in"]

_REQUEST_ID_HEADERS = ("x-request-id", "x-amzn-requestid", "x-correlation-id", "request-id")
#: A body is quoted from its fields only, and these no longer than this.
_LONGEST_TEXT = 300
#: A plain text is quoted up to this many characters, and taken for one a person should read if its words are short:
#: a token or a whole transaction that is echoed is none.
_LONGEST_PLAIN = 200
_LONGEST_PLAIN_BODY = 2000
_LONGEST_WORD = 80


def error_of(request: Request, response: Response, *, plain: bool = False) -> BloqApiError:
    """Return the error that a response stands for. Knows both shapes of error body that Bloq has
    used: ``{code, message}`` and problem details (RFC 9457).

    :param request: What was asked.
    :param response: An answer with any status but a success.
    :param plain: Whether a short text, bare or as a JSON string, is the reason of a 4xx as well.
    """
    carried = response.request or request
    body = object_in(response) or {}
    code, title, detail, text = (
        _shortened(without_echoes(body.get(name), carried)) for name in ("code", "title", "detail", "message")
    )
    detail = detail or text or (_plain_text(response, carried) if plain else None)
    url = request.url.partition("?")[0]
    told = ": ".join(dict.fromkeys(part for part in (code, title, detail) if part))
    message = f"{request.method} {url} answered {response.status}" + (f": {told}" if told else "")
    fields: dict[str, Any] = {
        "status": response.status,
        "code": code,
        "title": title,
        "detail": detail,
        "request_id": next(
            (
                without_echoes(response.headers[name], carried)
                for name in _REQUEST_ID_HEADERS
                if name in response.headers
            ),
            None,
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
    # The error is raised out here: that of the decoder holds the body, and would go along as the context.
    with suppress(ValueError):
        return safe_json.loads(response.body, exact=exact)
    kind = without_echoes(
        response.headers.get("content-type", "no content type"), response.request or request
    )
    url = request.url.partition("?")[0]
    raise BloqUnavailable(
        f"{request.method} {url} answered {response.status} with a body that is no JSON ({kind}, "
        f"{len(response.body)} bytes). Is the URL right, and is there a proxy in between?",
        status=response.status,
        method=request.method,
        url=url,
    )


def object_in(response: Response) -> dict[str, Any] | None:
    """Return the JSON object that a body is; None where it is anything else."""
    try:
        body = safe_json.loads(response.body)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _shortened(value: object) -> str | None:
    return value[:_LONGEST_TEXT] if isinstance(value, str) and value else None


def _plain_text(response: Response, carried: Request) -> str | None:
    if not 400 <= response.status < 500 or len(response.body) > _LONGEST_PLAIN_BODY:
        return None
    try:
        told = safe_json.loads(response.body)
    except ValueError:
        told = response.body.decode(errors="replace")
    told = without_echoes(told, carried)
    words = told.split() if isinstance(told, str) else []
    text = " ".join(words)
    # Pages, and objects that were cut short, are nothing that was meant for a person.
    if not text.isprintable() or "\N{REPLACEMENT CHARACTER}" in text or text.startswith(("<", "{", "[")):
        return None
    if any(len(word) > _LONGEST_WORD for word in words):
        return None
    if len(text) > _LONGEST_PLAIN:
        # The code of the error stands at the end.
        text = f"{text[: _LONGEST_PLAIN - 51]} … {text[-48:]}"
    return text or None
