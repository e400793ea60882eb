"""What an endpoint is, and the one way a call of it goes: build, sign, send, repeat, read."""

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


#: The statuses that Bloq's own client takes for success; 202 is not among them.
SUCCESSES = frozenset({200, 201, 204})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of a service's table of endpoints.

    :param method: HTTP method.
    :param path: Path below the service's URL, with ``{names}`` to fill in.
    :param idempotent: Whether a second request does no more than the first, so that it may be sent
        again when it is not known whether the service acted.
    """

    method: str
    path: str
    idempotent: bool

    def url(self, base: str, parts: Mapping[str, str], query: dict[str, Any] | None = None) -> str:
        """Fill in the path.

        :raises BloqConfigurationError: A part is empty or would change the path's meaning.
        """
        for name, value in parts.items():
            if not isinstance(value, str) or value.strip() in ("", ".", ".."):
                raise BloqConfigurationError.of(name, f"{value!r} is no id", "Pass the id as Bloq gave it.")
        path = self.path.format(**{name: quote(value.strip(), safe="") for name, value in parts.items()})
        return base + path + (f"?{urlencode(query)}" if query else "")


def json_request(
    method: str, url: str, body: Any = None, secrets: Mapping[str, Secret] | None = None
) -> Request:
    """Make a request that takes JSON and, where there is a body, sends it as JSON.

    :param method: HTTP method.
    :param url: Absolute URL.
    :param body: What to send.
    :param secrets: Further fields of the body. They are revealed in here, so that no caller has them among its
        local variables, which some show with a traceback.
    :raises BloqConfigurationError: The body holds what JSON does not know.
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
    """What a service answered to a call.

    :param content: The JSON; None where the answer has no body.
    :param served_at: When, in epoch seconds by the service's own clock; None where it does not say.
    """

    content: Any
    served_at: float | None


class Service:
    """A service of Bloq that takes the access token.

    :param url: Base URL, without a slash at its end.
    :param bearer: Signs the requests.
    :param policy: How patiently requests are repeated.
    """

    #: Whether numbers with a fraction are read as decimals: where they may be amounts of money.
    EXACT: ClassVar[bool] = False
    #: Whether refusals may be told in plain text instead of an object.
    PLAIN_ERRORS: ClassVar[bool] = False

    def __init__(self, *, url: str, bearer: BearerAuth, policy: RetryPolicy) -> None:
        self.url = url
        self.bearer = bearer
        self.policy = policy

    def call(
        self, endpoint: Endpoint, *, query: dict[str, Any] | None = None, body: Any = None, **parts: str
    ) -> Flow[Any]:
        """Call an endpoint; a flow.

        :param endpoint: Which.
        :param query: Query parameters.
        :param body: What to send as JSON.
        :param parts: What to fill into the path.
        :return: The JSON of the answer; None where it has no body.
        :raises BloqApiError: The service answered with an error, or not at all.
        :raises BloqAuthError: No usable token could be had, or it was refused.
        """
        return (yield from self.ask(endpoint, parts, query=query, body=body)).content

    def request(
        self, endpoint: Endpoint, parts: Mapping[str, str], query: dict[str, Any] | None, body: Any
    ) -> Request:
        """Build the request of a call, without a token; parameters as for :meth:`ask`."""
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
        """As :meth:`call`, for who wants to know the service's time as well.

        :param before_each: Makes a flow to run right before each time that the request is sent.
        """
        request = self.request(endpoint, parts, query, body)
        once = partial(
            sent_with_retries, policy=self.policy, idempotent=endpoint.idempotent, before_each=before_each
        )
        # Signed outside, repeated inside: while Accounts is away its own patience counts, not both.
        response = yield from self.bearer.send(request, once=once)
        if response.status not in SUCCESSES:
            raise error_of(request, response, plain=self.PLAIN_ERRORS)
        return Answer(
            json_of(request, response, exact=self.EXACT), http_date(response.headers.get("date", ""))
        )
