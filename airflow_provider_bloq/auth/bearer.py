"""Puts the access token on requests, for known origins only, and answers a refusal with another token."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.token import AccessToken
from airflow_provider_bloq.auth.token_provider import TokenProvider
from airflow_provider_bloq.exceptions import BloqSharedTokenStale, BloqTokenRejected, BloqUnavailable
from airflow_provider_bloq.flow import responses
from airflow_provider_bloq.flow.effects import Flow, Request, Response, emit, send
from airflow_provider_bloq.flow.events import Event

__all__ = [
    "MAX_REPLACEMENTS",
    "BearerAuth",
    "RefusalCertainty",
    "TrustedOrigins",
    "is_auth_refusal",
    "refusal_of",
    "token_survived",
]


#: How often one request is sent again with another token after a 401. Once is not enough: the token that a
#: fleet shares may be dead as well, and one that was just renewed can be revoked before it arrives, as in a
#: rotation of keys. Who is not allowed to make the call at all pays this many grants to learn it.
MAX_REPLACEMENTS = 3
#: The same after a 403, which mostly speaks of what was asked for. Where it refuses a token that was made for the
#: call, it is not about the token.
MAX_REPLACEMENTS_AFTER_403 = 1
_SCHEME = "Bearer "
#: Codes of a 403 body that speak of the token, unlike ``LimitExceeded`` or ``Forbidden``.
_ABOUT_CREDENTIALS = re.compile(r"token|credential|jwt|unauthori[sz]ed|unauthenticated", re.IGNORECASE)
#: Words by which a body with a business code still says that the token is no good, as "jwt expired" does; the token
#: must be what they end with or what they are said of, unlike in "invalid token address".
_TOKEN_IS_NO_GOOD = re.compile(
    r"\b(?:jwt|token)(?: (?:is|has|been|was|audience|issuer|subject))*"
    r" (?:expired|invalid|malformed|revoked|not active)\b"
    r"|\b(?:expired|invalid|malformed|revoked) (?:(?:access|bearer|client|account) )?(?:jwt|token|signature)\b(?! \w)",
    re.IGNORECASE,
)
_WORDS = ("message", "detail", "title")
#: Of a text that is no object, so many bytes are looked at.
_LONGEST_BARE = 300


class RefusalCertainty(Enum):
    """What an answer says against the token that it was asked with."""

    NONE = "none"
    #: A 403 that gives no reason: that of a service, or of a gateway that has other things against the call.
    POSSIBLE = "possible"
    CERTAIN = "certain"


class TrustedOrigins:
    """The origins that the access token may be shown to: those of the settings, and those of nodes
    and clusters as this account's API names them.

    :param origins: Those of the settings.
    """

    def __init__(self, origins: Iterable[Origin]) -> None:
        self._of_settings = frozenset(origins)
        self._named: set[Origin] = set()

    def add(self, origin: Origin) -> None:
        """Trust the origin of a node or cluster that this account's API has just named."""
        self._named.add(origin)

    def covers(self, url: str) -> bool:
        """Tell whether a request to ``url`` may carry the token."""
        origin = _origin_of(url)
        return origin in self._of_settings or origin in self._named

    def are_configured(self, url: str) -> bool:
        """Tell whether ``url`` is at an origin of the settings, whose word on the token counts for all others."""
        return _origin_of(url) in self._of_settings


class BearerAuth:
    """Signs requests with the access token and, on a 401, replacements the ladder and signs again.

    Each decision looks at the origin of the very request in hand: a redirect may have led elsewhere.

    :param provider: Gives the token.
    :param origins: Where it may go.
    """

    def __init__(self, provider: TokenProvider, origins: TrustedOrigins) -> None:
        self.provider = provider
        self.origins = origins
        #: By origin the token that was made for a call and met a 403 without a reason all the same.
        self._refused_when_new: dict[Origin | None, Secret] = {}

    def sign(self, request: Request) -> Flow[Request]:
        """Return the request with the token, or as it is where the token has no business."""
        if not self.origins.covers(request.url):
            return request
        return _signed(request, (yield from self.provider.token()))

    def answer(self, request: Request, response: Response, *, replacements: int = 0) -> Flow[Request | None]:
        """Return the request to send instead of one that was refused; None where the response stands.

        :param request: The request as it was sent.
        :param response: What it got.
        :param replacements: How many tokens were got for this call already.
        """
        refusal = self._refusal_of(request, response)
        if refusal is RefusalCertainty.NONE:
            return None
        sent, origin = _token_of(request), _origin_of(request.url)
        if sent is None:
            return (yield from self.sign(request)) if replacements == 0 else None
        if replacements >= (MAX_REPLACEMENTS if response.status == 401 else MAX_REPLACEMENTS_AFTER_403):
            if refusal is RefusalCertainty.POSSIBLE:
                self._refused_when_new[origin] = sent
            return None
        if refusal is RefusalCertainty.POSSIBLE and self._refused_when_new.get(origin) == sent:
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
            another = yield from self.provider.replace_refused(
                sent, certain=refusal is RefusalCertainty.CERTAIN, at_first_use=replacements > 0
            )
        except BloqSharedTokenStale:
            # Who shares it must do something only if it is dead, and a single node cannot tell.
            if self.origins.are_configured(request.url):
                raise
            another = None
        # Where Accounts hands out the same token until it ends, there is nothing else to show.
        return _signed(request, another) if another is not None else None

    def is_refused(self, request: Request, token: AccessToken) -> Flow[bool]:
        """Tell whether a service says that a token is no good. One that does not answer does not say so.

        :param request: What to ask it, without a token.
        :param token: The token.
        """
        if not self.origins.covers(request.url):
            return False
        try:
            response = yield from send(_signed(request, token))
        except BloqUnavailable:
            return False
        return self._refusal_of(request, response) is RefusalCertainty.CERTAIN

    def send(self, request: Request, once: Callable[[Request], Flow[Response]] = send) -> Flow[Response]:
        """Send a request signed; on a refusal again with another token, a few times at most.

        A POST may go several times: a service that refuses the token has not acted.

        :param request: The request, without a token.
        :param once: How to send it one time.
        :raises BloqTokenRejected: Every token is refused that there is, or that could be made for this call.
        """
        signed = yield from self.sign(request)
        response = yield from once(signed)
        replacements = 0
        while (again := (yield from self.answer(signed, response, replacements=replacements))) is not None:
            replacements += 1
            signed = again
            response = yield from once(signed)
        if self._refusal_of(request, response) is not RefusalCertainty.NONE:
            which = (
                "even an access token that was made for such a call"
                if self.provider.can_renew
                else "the access token, and no other one is shared"
            )
            raise BloqTokenRejected(
                f"{request.method} {request.url.partition('?')[0]} refuses ({response.status}) {which}. If other calls "
                "work, this one is not allowed to this account."
            )
        if replacements:
            yield from emit(token_survived(replacements))
        return response

    def _refusal_of(self, request: Request, response: Response) -> RefusalCertainty:
        if not self.origins.covers(request.url):
            return RefusalCertainty.NONE
        return refusal_of(response.status, response.body)


def token_survived(replacements: int) -> Event:
    """Return the event for a refused request that succeeded with another access token."""
    return Event("token.survived", f"The call was taken with access token number {replacements + 1}")


def is_auth_refusal(status: int, body: bytes) -> bool:
    """Tell whether a response refuses the token, rather than what was asked for.

    The services' own choice between 401 and 403 is not documented, so a 403 counts as well, unless
    its body names a business code and says nothing of the token.
    """
    return refusal_of(status, body) is not RefusalCertainty.NONE


def refusal_of(status: int, body: bytes) -> RefusalCertainty:
    """Tell what a response says against the token, and how surely; see :func:`is_auth_refusal`."""
    if status == 401:
        return RefusalCertainty.CERTAIN
    if status != 403:
        return RefusalCertainty.NONE
    fields = _fields_of(body)
    code = _text(fields, "code")
    if code is not None and _ABOUT_CREDENTIALS.search(code):
        return RefusalCertainty.CERTAIN
    if any(_TOKEN_IS_NO_GOOD.search(_text(fields, name) or "") for name in _WORDS):
        return RefusalCertainty.CERTAIN
    return RefusalCertainty.POSSIBLE if code is None else RefusalCertainty.NONE


def _signed(request: Request, token: AccessToken) -> Request:
    return request.with_header("Authorization", _SCHEME + token.secret.reveal())


def _token_of(request: Request) -> Secret | None:
    # Hidden before anything is done with it: local variables are shown with tracebacks by some.
    sent = Secret(request.headers.get("Authorization", ""))
    return Secret(sent.reveal().removeprefix(_SCHEME)) if sent.reveal().startswith(_SCHEME) else None


def _origin_of(url: str) -> Origin | None:
    try:
        return Origin.of(url)
    except ValueError:
        return None


def _fields_of(body: bytes) -> dict[str, Any]:
    """Return the fields of an error; a bare text, also one that is JSON, counts as its message."""
    try:
        fields = responses.parse_json(body)
    except ValueError:
        text = body[:_LONGEST_BARE].decode(errors="replace")
        return {} if text.lstrip().startswith("<") else {"message": text}
    if isinstance(fields, str):
        return {"message": fields[:_LONGEST_BARE]}
    return fields if isinstance(fields, dict) else {}


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and value else None
