"""A service of Bloq: its endpoints, and how one is called: build the request, sign, send, retry, read the response."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from airflow_provider_bloq.auth.bearer import BearerAuth
from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.flow.effects import Flow, Request
from airflow_provider_bloq.flow.responses import error_of, json_of
from airflow_provider_bloq.flow.retry import RetryPolicy, http_date, sent_with_retries

__all__ = [
    "SUCCESSES",
    "Answer",
    "Endpoint",
    "Service",
    "json_request",
]


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
                raise BloqConfigurationError.of(name, f"{value!r} is no id", "Pass the id as Bloq gave it.")
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
