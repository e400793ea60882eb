"""JSON from elsewhere, decoded without the risk that its nesting ends the process."""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from airflow_provider_bloq.auth.credentials import REDACTED, Secret
from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqNotFound,
    BloqQuotaExceeded,
    BloqRateLimited,
    BloqUnavailable,
)
from airflow_provider_bloq.flow.effects import Request, Response
from airflow_provider_bloq.flow.retry import retry_after

__all__ = [
    "error_of",
    "json_of",
    "object_in",
    "parse_json",
    "redact_response",
]


#: Levels that the decoder's C stack surely holds. No answer of Bloq or of a node comes near.
DEEPEST = 2000
#: How many levels of closed brackets are taken away before the rest is judged.
_PASSES = 100
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def parse_json(text: str | bytes, *, exact: bool = False) -> Any:
    """Decode JSON, as :func:`json.loads` does.

    That one relies on the recursion limit, which libraries raise (py_ecc, which web3.py brings, to
    100,000): the decoder, written in C, then runs out of stack, and the process dies.

    :param text: The JSON.
    :param exact: Whether numbers with a fraction are read as :class:`~decimal.Decimal`, which loses nothing.
    :raises ValueError: It is no JSON, or is nested deeper than any that is meant well.
    """
    if _may_be_too_deep(text.encode(errors="replace") if isinstance(text, str) else text):
        raise ValueError("it is nested too deep")
    try:
        return json.loads(text, parse_float=Decimal if exact else None)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _may_be_too_deep(text: bytes) -> bool:
    if text.count(b"[") + text.count(b"{") <= DEEPEST:
        return False
    # Brackets may also stand in strings; to leave those out costs more, and is seldom needed.
    return _levels_left(text) > DEEPEST and _levels_left(_STRING.sub(b"", text)) > DEEPEST


def _levels_left(text: bytes) -> int:
    """Count the brackets that remain when the innermost pairs are taken away again and again.

    For each pass this is a search at the speed of C, where to follow the brackets one by one is not.
    """
    brackets = text.translate(None, _ALL_BUT_BRACKETS)
    for _ in range(_PASSES):
        before = len(brackets)
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(brackets) in (0, before):
            break
    return len(brackets)


def redact_response(said: Any, request: Request) -> Any:
    """Hide in what a server said whatever is secret of the request: error pages like to quote it.

    :param said: Decoded JSON; its texts are gone through, also in lists and objects.
    :param request: The request, as it was sent.
    :return: The same with ``***`` in the place of each secret.
    """
    return _hidden(said, tuple(_secrets_of(request)))


def _hidden(said: Any, secrets: tuple[Secret, ...]) -> Any:
    match said:
        case str():
            for secret in secrets:
                said = said.replace(secret.reveal(), REDACTED)
            return said
        case list():
            return [_hidden(one, secrets) for one in said]
        case dict():
            return {_hidden(name, secrets): _hidden(one, secrets) for name, one in said.items()}
    return said


def _secrets_of(request: Request) -> Iterator[Secret]:
    """Give each form in which what a request carried may come back."""
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    if credential:
        yield Secret(credential)
    if scheme == "Basic":
        yield from _password_in(Secret(credential))
    if request.path_key:
        yield Secret(quote(request.path_key.reveal(), safe=""))
        yield request.path_key


def _password_in(credential: Secret) -> Iterator[Secret]:
    try:
        user_and_password = Secret(b64decode(credential.reveal()).decode())
    except (binascii.Error, UnicodeDecodeError):
        return
    password = Secret(user_and_password.reveal().partition(":")[2])
    if password:
        yield password


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
        _shortened(redact_response(body.get(name), carried))
        for name in ("code", "title", "detail", "message")
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
                redact_response(response.headers[name], carried)
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
    :param exact: As for :func:`~airflow_provider_bloq.flow.responses.parse_json`.

    :raises BloqUnavailable: The body is something else, such as the page of a proxy in between, or
        it was cut short.
    """
    if response.status == 204 or not response.body:
        return None
    # The error is raised out here: that of the decoder holds the body, and would go along as the context.
    with suppress(ValueError):
        return parse_json(response.body, exact=exact)
    kind = redact_response(
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
        body = parse_json(response.body)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _shortened(value: object) -> str | None:
    return value[:_LONGEST_TEXT] if isinstance(value, str) and value else None


def _plain_text(response: Response, carried: Request) -> str | None:
    if not 400 <= response.status < 500 or len(response.body) > _LONGEST_PLAIN_BODY:
        return None
    try:
        told = parse_json(response.body)
    except ValueError:
        told = response.body.decode(errors="replace")
    told = redact_response(told, carried)
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
