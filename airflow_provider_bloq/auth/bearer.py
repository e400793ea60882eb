"""The access token on requests: for trusted origins only; a refusal is answered with another token."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, TypeVar

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.token_provider import AccessToken, TokenProvider
from airflow_provider_bloq.exceptions import BloqSharedTokenStale, BloqTokenRejected, BloqUnavailable
from airflow_provider_bloq.flow import service
from airflow_provider_bloq.flow.effects import Flow, Request, Response, emit, send
from airflow_provider_bloq.flow.events import Event

__all__ = [
    "MAX_REPLACEMENTS",
    "BearerAuth",
    "TrustedOrigins",
    "is_auth_refusal",
    "resend_refused",
    "token_survived",
]


C = TypeVar("C")
R = TypeVar("R")

#: How often one request is sent again with another token after a 401. Once is not enough: the token that a fleet
#: shares may be revoked as well, and so may one that was just renewed, as in a rotation of client keys. A call that
#: the account may never make costs this many grants.
MAX_REPLACEMENTS = 3
#: The same after a 403, which is mostly about the call. If it refuses a token that was renewed for the call, it is
#: not about the token.
MAX_REPLACEMENTS_AFTER_403 = 1


def resend_refused(
    request: C,
    response: R,
    *,
    replace: Callable[[C, R, int], Flow[C | None]],
    send: Callable[[C], Flow[R]],
) -> Flow[tuple[R, int]]:
    """Send a request again with another credential until it is accepted or there is none left.

    Every client that sends a credential uses this. A server that refuses one has not acted on the request,
    so a POST may be sent again.

    :param request: What was sent, or what it was sent with.
    :param response: The response to it.
    :param replace: Gets a request, its response and the number of replacements so far. Returns what to send instead,
        or None if the response stands.
    :param send: Sends once.
    :return: The response that stands, and the number of replacements.
    """
    replacements = 0
    while (again := (yield from replace(request, response, replacements))) is not None:
        replacements += 1
        request = again
        response = yield from send(request)
    return response, replacements


class TrustedOrigins:
    """The origins that may receive the access token: those of the connection's settings, and those of the nodes and
    clusters that this account's API names.

    :param origins: Those of the settings.
    """

    def __init__(self, origins: Iterable[Origin]) -> None:
        self._configured = frozenset(origins)
        self._named: set[Origin] = set()

    def add(self, origin: Origin) -> None:
        """Trust the origin of a node or cluster that this account's API has just named."""
        self._named.add(origin)

    def covers(self, url: str) -> bool:
        """Return whether a request to ``url`` may carry the token."""
        origin = _origin_of(url)
        return origin in self._configured or origin in self._named

    def are_configured(self, url: str) -> bool:
        """Return whether ``url`` is at an origin of the settings; its refusal of a token is valid for all others."""
        return _origin_of(url) in self._configured


class BearerAuth:
    """Signs requests with the access token and answers a refusal with another token.

    Each decision is made by the URL of the request in hand: a redirect may lead to another origin.

    :param provider: Provides the token.
    :param origins: Where it may be sent.
    """

    def __init__(self, provider: TokenProvider, origins: TrustedOrigins) -> None:
        self.provider = provider
        self.origins = origins
        #: By origin, the token that was renewed for a call and still got a 403 without a reason.
        self._refused_when_new: dict[Origin | None, Secret] = {}

    def sign(self, request: Request) -> Flow[Request]:
        """Return the request with the token, or unchanged if its origin is not trusted."""
        if not self.origins.covers(request.url):
            return request
        return _signed(request, (yield from self.provider.token()))

    def replace_refused(
        self, request: Request, response: Response, replacements: int
    ) -> Flow[Request | None]:
        """Return a refused request with another token; None if the response stands.

        :param request: The request as it was sent.
        :param response: The response to it.
        :param replacements: How many other tokens this call has had already.
        """
        refusal = self._refusal(request, response)
        if refusal is _Refusal.NONE:
            return None
        sent, origin = _token_of(request), _origin_of(request.url)
        if sent is None:
            return (yield from self.sign(request)) if replacements == 0 else None
        if replacements >= (MAX_REPLACEMENTS if response.status == 401 else MAX_REPLACEMENTS_AFTER_403):
            if refusal is _Refusal.POSSIBLE:
                self._refused_when_new[origin] = sent
            return None
        if refusal is _Refusal.POSSIBLE and self._refused_when_new.get(origin) == sent:
            return None
        url = request.url.partition("?")[0]
        yield from emit(
            Event(
                "token.refused",
                f"{request.method} {url} refuses the access token ({response.status}); getting another one",
                logging.INFO,
                url=url,
            )
        )
        try:
            token = yield from self.provider.replace_refused(
                sent, certain=refusal is _Refusal.CERTAIN, at_first_use=replacements > 0
            )
        except BloqSharedTokenStale:
            # Only if the shared token is revoked does anybody have to act, and a single node cannot know that.
            if self.origins.are_configured(request.url):
                raise
            return None
        # None if Accounts issues the same token until it expires.
        return _signed(request, token) if token is not None else None

    def is_refused(self, request: Request, token: AccessToken) -> Flow[bool]:
        """Return whether a service refuses a token. One that does not answer does not refuse it.

        :param request: What to send, without a token.
        :param token: The token.
        """
        if not self.origins.covers(request.url):
            return False
        try:
            response = yield from send(_signed(request, token))
        except BloqUnavailable:
            return False
        return self._refusal(request, response) is _Refusal.CERTAIN

    def send(self, request: Request, once: Callable[[Request], Flow[Response]] = send) -> Flow[Response]:
        """Send a signed request; after a refusal again with another token, a few times at most.

        :param request: The request, without a token.
        :param once: Sends one time.
        :raises BloqTokenRejected: Every available token is refused.
        """
        signed = yield from self.sign(request)
        response, replacements = yield from resend_refused(
            signed, (yield from once(signed)), replace=self.replace_refused, send=once
        )
        if self._refusal(request, response) is not _Refusal.NONE:
            which = (
                "even an access token that was made for such a call"
                if self.provider.can_renew
                else "the access token, and no other one is shared"
            )
            raise BloqTokenRejected(
                f"{request.method} {request.url.partition('?')[0]} refuses ({response.status}) {which}. If other calls "
                "work, this account may not make this one."
            )
        if replacements:
            yield from emit(token_survived(replacements))
        return response

    def _refusal(self, request: Request, response: Response) -> _Refusal:
        if not self.origins.covers(request.url):
            return _Refusal.NONE
        return _refusal_in(response.status, response.body)


def token_survived(replacements: int) -> Event:
    """Return the event for a refused request that succeeded with another access token."""
    return Event("token.survived", f"The call succeeded with access token number {replacements + 1}")


class _Refusal(Enum):
    """Whether a response refuses the token."""

    NONE = "none"
    #: A 403 without a reason, from a service, or from a gateway that may object to something else.
    POSSIBLE = "possible"
    CERTAIN = "certain"


def is_auth_refusal(status: int, body: bytes) -> bool:
    """Return whether a response refuses the token, rather than the call.

    It is not documented when services use 401 and when 403. A 403 counts unless its body has a business code and
    says nothing about the token.
    """
    return _refusal_in(status, body) is not _Refusal.NONE


#: Codes of a 403 body that are about the token, unlike ``LimitExceeded`` or ``Forbidden``.
_ABOUT_CREDENTIALS = re.compile(r"token|credential|jwt|unauthori[sz]ed|unauthenticated", re.IGNORECASE)
#: Words by which a body with a business code still refuses the token, such as "jwt expired". They must refer to the
#: token, unlike in "invalid token address".
_TOKEN_IS_NO_GOOD = re.compile(
    r"\b(?:jwt|token)(?: (?:is|has|been|was|audience|issuer|subject))*"
    r" (?:expired|invalid|malformed|revoked|not active)\b"
    r"|\b(?:expired|invalid|malformed|revoked) (?:(?:access|bearer|client|account) )?(?:jwt|token|signature)\b(?! \w)",
    re.IGNORECASE,
)
#: Bytes of a body that is not an object which are examined.
_LONGEST_BARE = 300


def _refusal_in(status: int, body: bytes) -> _Refusal:
    if status == 401:
        return _Refusal.CERTAIN
    if status != 403:
        return _Refusal.NONE
    fields = _fields_of(body)
    code = _text(fields, "code")
    if code is not None and _ABOUT_CREDENTIALS.search(code):
        return _Refusal.CERTAIN
    if any(_TOKEN_IS_NO_GOOD.search(_text(fields, name) or "") for name in ("message", "detail", "title")):
        return _Refusal.CERTAIN
    return _Refusal.POSSIBLE if code is None else _Refusal.NONE


def _fields_of(body: bytes) -> dict[str, Any]:
    """Return the fields of an error; plain text counts as its message."""
    try:
        fields = service.parse_json(body)
    except ValueError:
        text = body[:_LONGEST_BARE].decode(errors="replace")
        return {} if text.lstrip().startswith("<") else {"message": text}
    if isinstance(fields, str):
        return {"message": fields[:_LONGEST_BARE]}
    return fields if isinstance(fields, dict) else {}


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


_SCHEME = "Bearer "


def _signed(request: Request, token: AccessToken) -> Request:
    return request.with_header("Authorization", _SCHEME + token.secret.reveal())


def _token_of(request: Request) -> Secret | None:
    # Hidden at once: some error reporters show local variables with a traceback.
    sent = Secret(request.headers.get("Authorization", ""))
    return Secret(sent.reveal().removeprefix(_SCHEME)) if sent.reveal().startswith(_SCHEME) else None


def _origin_of(url: str) -> Origin | None:
    try:
        return Origin.of(url)
    except ValueError:
        return None
