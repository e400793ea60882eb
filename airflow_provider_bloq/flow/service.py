"""A call of an endpoint: build, sign, send and retry the request; read a value or a typed error from the response."""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlencode

from airflow_provider_bloq.auth.credentials import REDACTED, Secret
from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqCertificateError,
    BloqConfigurationError,
    BloqNotFound,
    BloqQuotaExceeded,
    BloqRateLimited,
    BloqUnavailable,
)
from airflow_provider_bloq.flow.effects import Flow, Request, Response
from airflow_provider_bloq.flow.events import Event, call_event
from airflow_provider_bloq.flow.retry import RetryPolicy, http_date, retry_after, sent_with_retries

if TYPE_CHECKING:
    from airflow_provider_bloq.auth.bearer import BearerAuth

__all__ = [
    "SUCCESSES",
    "Answer",
    "Endpoint",
    "Service",
    "error_of",
    "failure_event",
    "json_of",
    "json_request",
    "no_answer",
    "object_in",
    "parse_json",
    "redact_response",
    "response_event",
    "wrong_certificate",
]


#: Levels of nesting that the decoder's C stack holds. Responses of Bloq and of nodes have far fewer.
DEEPEST = 2000
#: How many levels of matching brackets are removed before the rest is counted.
_PASSES = 100
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def parse_json(text: str | bytes, *, exact: bool = False) -> Any:
    """Decode JSON, as :func:`json.loads` does.

    ``json.loads`` relies on the recursion limit, which libraries raise (py_ecc, used by web3.py, to 100,000): the
    decoder, written in C, then overflows the stack and the process dies.

    :param text: The JSON.
    :param exact: Whether to read numbers with a fraction as :class:`~decimal.Decimal`.
    :raises ValueError: It is not JSON, or is nested too deeply.
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
    # Brackets may also be inside strings. Removing those costs more and is rarely needed.
    return _levels_left(text) > DEEPEST and _levels_left(_STRING.sub(b"", text)) > DEEPEST


def _levels_left(text: bytes) -> int:
    """Count the brackets that remain after removing innermost pairs repeatedly: much faster than a loop in Python."""
    brackets = text.translate(None, _ALL_BUT_BRACKETS)
    for _ in range(_PASSES):
        before = len(brackets)
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(brackets) in (0, before):
            break
    return len(brackets)


def redact_response(content: Any, request: Request) -> Any:
    """Return a response with the request's secrets replaced by ``***``: error pages often quote the request.

    :param content: Decoded JSON; texts in lists and objects are included.
    :param request: The request, as it was sent.
    """
    return _redacted(content, tuple(_secrets_of(request)))


def _redacted(content: Any, secrets: tuple[Secret, ...]) -> Any:
    match content:
        case str():
            for secret in secrets:
                content = content.replace(secret.reveal(), REDACTED)
            return content
        case list():
            return [_redacted(item, secrets) for item in content]
        case dict():
            return {_redacted(name, secrets): _redacted(item, secrets) for name, item in content.items()}
    return content


def _secrets_of(request: Request) -> Iterator[Secret]:
    """Yield each form in which a credential of the request may be echoed."""
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
#: Errors quote only known fields of a body, up to this many characters.
_LONGEST_TEXT = 300
#: Plain text is quoted up to this many characters, and only if its words are short: an echoed token or transaction is
#: not a message for people.
_LONGEST_PLAIN = 200
_LONGEST_PLAIN_BODY = 2000
_LONGEST_WORD = 80


def error_of(request: Request, response: Response, *, plain: bool = False) -> BloqApiError:
    """Return the error for an unsuccessful response.

    Knows both error bodies that Bloq has used: ``{code, message}`` and problem details (RFC 9457).

    :param request: The request.
    :param response: The response.
    :param plain: Whether a short plain text, or a JSON string, is used as the reason of a 4xx.
    """
    carried = response.request or request
    body = object_in(response) or {}
    code, title, detail, text = (
        _shortened(redact_response(body.get(name), carried))
        for name in ("code", "title", "detail", "message")
    )
    detail = detail or text or (_plain_text(response, carried) if plain else None)
    url = request.url.partition("?")[0]
    reasons = ": ".join(dict.fromkeys(part for part in (code, title, detail) if part))
    message = f"{request.method} {url} answered {response.status}" + (f": {reasons}" if reasons else "")
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
    """Return the JSON of a successful response; None if it has no body.

    :param request: The request.
    :param response: The response.
    :param exact: As for :func:`parse_json`.
    :raises BloqUnavailable: The body is not JSON, such as a proxy's page, or was truncated.
    """
    if response.status == 204 or not response.body:
        return None
    # The error is raised outside: the decoder's error holds the body and would become its context.
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
    """Return the JSON object in a body; None if it is anything else."""
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
        content = parse_json(response.body)
    except ValueError:
        content = response.body.decode(errors="replace")
    content = redact_response(content, carried)
    words = content.split() if isinstance(content, str) else []
    text = " ".join(words)
    # HTML pages and truncated objects are not messages for people.
    if not text.isprintable() or "\N{REPLACEMENT CHARACTER}" in text or text.startswith(("<", "{", "[")):
        return None
    if any(len(word) > _LONGEST_WORD for word in words):
        return None
    if len(text) > _LONGEST_PLAIN:
        # The error code is at the end.
        text = f"{text[: _LONGEST_PLAIN - 51]} … {text[-48:]}"
    return text or None


#: The statuses that Bloq's own client treats as success; 202 is not one of them.
SUCCESSES = frozenset({200, 201, 204})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint of a service.

    :param method: HTTP method.
    :param path: Path below the service's URL, with ``{names}`` to fill in.
    :param idempotent: Whether a request may be sent again if it is not known whether the service acted on it.
    """

    method: str
    path: str
    idempotent: bool

    def url(self, base: str, parts: Mapping[str, str], query: dict[str, Any] | None = None) -> str:
        """Return the URL with the parts filled in.

        :raises BloqConfigurationError: A part is empty or would change the meaning of the path.
        """
        for name, value in parts.items():
            if not isinstance(value, str) or value.strip() in ("", ".", ".."):
                raise BloqConfigurationError.of(
                    name, f"{value!r} is no id", "Pass the id that Bloq returned."
                )
        path = self.path.format(**{name: quote(value.strip(), safe="") for name, value in parts.items()})
        return base + path + (f"?{urlencode(query)}" if query else "")


def json_request(
    method: str, url: str, body: Any = None, secrets: Mapping[str, Secret] | None = None
) -> Request:
    """Return a request that accepts JSON and sends its body, if any, as JSON.

    :param method: HTTP method.
    :param url: Absolute URL.
    :param body: The body.
    :param secrets: Further fields of the body. They are revealed here, so that they are not in local variables of
        callers, which some error reporters show with a traceback.
    :raises BloqConfigurationError: The body cannot be written as JSON.
    """
    headers = {"Accept": "application/json"}
    if body is None:
        return Request(method, url, headers)
    headers["Content-Type"] = "application/json"
    try:
        text = json.dumps(
            {**body, **{name: one.reveal() for name, one in secrets.items()}} if secrets else body,
            separators=(",", ":"),
            allow_nan=False,
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise BloqConfigurationError.of(
            "body", f"it cannot be written as JSON: {error}", "Pass texts, numbers, lists and dicts only."
        ) from None
    return Request(method, url, headers, text.encode())


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful response.

    :param content: The JSON; None without a body.
    :param served_at: Its ``Date`` in epoch seconds, by the service's clock; None without one.
    """

    content: Any
    served_at: float | None


class Service:
    """A service of Bloq that accepts the access token.

    :param url: Base URL, without a trailing slash.
    :param bearer: Signs the requests.
    :param policy: How requests are retried.
    """

    #: Whether numbers with a fraction are read as decimals, since they may be amounts of money.
    EXACT: ClassVar[bool] = False
    #: Whether errors may be plain text instead of an object.
    PLAIN_ERRORS: ClassVar[bool] = False

    def __init__(self, *, url: str, bearer: BearerAuth, policy: RetryPolicy) -> None:
        self.url = url
        self.bearer = bearer
        self.policy = policy

    def call(
        self, endpoint: Endpoint, *, query: dict[str, Any] | None = None, body: Any = None, **parts: str
    ) -> Flow[Any]:
        """Call an endpoint; a flow.

        :param endpoint: The endpoint.
        :param query: Query parameters.
        :param body: The body, sent as JSON.
        :param parts: Parts of the path.
        :return: The JSON of the response; None without a body.
        :raises BloqApiError: The service returned an error, or nothing.
        :raises BloqAuthError: There is no usable token, or it was refused.
        """
        return (yield from self.ask(endpoint, parts, query=query, body=body)).content

    def request(
        self, endpoint: Endpoint, parts: Mapping[str, str], query: dict[str, Any] | None, body: Any
    ) -> Request:
        """Return the request of a call, without a token; parameters as for :meth:`ask`."""
        return json_request(endpoint.method, endpoint.url(self.url, parts, query), body)

    def ask(
        self,
        endpoint: Endpoint,
        parts: dict[str, str],
        *,
        query: dict[str, Any] | None = None,
        body: Any = None,
        before_each: Callable[[], Flow[None]] | None = None,
    ) -> Flow[Answer]:
        """Like :meth:`call`, but also return the service's time.

        :param before_each: Returns a flow to run right before each attempt.
        """
        request = self.request(endpoint, parts, query, body)
        once = partial(
            sent_with_retries, policy=self.policy, idempotent=endpoint.idempotent, before_each=before_each
        )
        # Signed outside the retries: while Accounts is unavailable only its own retries count, not both.
        response = yield from self.bearer.send(request, once=once)
        if response.status not in SUCCESSES:
            raise error_of(request, response, plain=self.PLAIN_ERRORS)
        return Answer(
            json_of(request, response, exact=self.EXACT), http_date(response.headers.get("date", ""))
        )


#: User and password in a URL that an error quotes, such as a proxy's.
_USERINFO = re.compile(r"\S+@")


def no_answer(request: Request, cause: BaseException, *, acted: bool) -> BloqUnavailable:
    """Return the error for a request that got no response.

    Raise it outside the ``except`` of the HTTP library's error, which holds the request and may quote secrets: the
    body of the token endpoint, or a proxy's URL with its password.

    :param request: The request.
    :param cause: What the HTTP library raised; only its innermost cause is quoted.
    :param acted: Whether the service may have acted on the request.
    """
    url = request.url.partition("?")[0]
    reason = _innermost(cause)
    what = "got no answer" if acted else "could not be sent"
    # Errors of the operating system are quoted: they hold nothing that the server sent.
    said = f" {_USERINFO.sub('***@', str(reason))[:200]}" if isinstance(reason, OSError) else ""
    return BloqUnavailable(
        f"{request.method} {url} {what}: {type(reason).__name__}{said}",
        acted=acted,
        method=request.method,
        url=url,
    )


def wrong_certificate(request: Request, fingerprint: str) -> BloqCertificateError:
    """Return the error for a server whose certificate is not the pinned one."""
    url = request.url.partition("?")[0]
    return BloqCertificateError(
        f"{request.method} {url} was not sent: the server shows a certificate with the SHA-256 fingerprint "
        f"{fingerprint}, which is not the pinned one. If the node's certificate was renewed and you know this "
        "fingerprint to be right, pin it instead of the old one; if not, somebody else may be answering.",
        fingerprint=fingerprint,
        method=request.method,
        url=url,
    )


def _innermost(error: BaseException) -> BaseException:
    """Return the innermost cause: the outer errors only wrap it and quote whole URLs.

    The context is not followed: it may be an error that the caller is handling.
    """
    while True:
        parts = (getattr(error, "reason", None), error.__cause__, *error.args)
        inner = next((part for part in parts if isinstance(part, BaseException)), None)
        if inner is None:
            return error
        error = inner


def response_event(request: Request, response: Response) -> Event:
    """Return the event for a request that was answered, with whatever status."""
    date = http_date(response.headers.get("date", ""))
    return call_event(
        request.method, _without_query(request.url), response.elapsed, status=response.status, date=date
    )


def failure_event(request: Request, error: BloqApiError, elapsed: float) -> Event:
    """Return the event for a request that failed after ``elapsed`` seconds."""
    return call_event(request.method, _without_query(request.url), elapsed, failure=type(error).__name__)


def _without_query(url: str) -> str:
    return url.partition("?")[0]
