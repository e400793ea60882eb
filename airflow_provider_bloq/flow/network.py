"""Network settings of a connection, and what both drivers report about a request: events and errors."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

import certifi

from airflow_provider_bloq import __version__
from airflow_provider_bloq.exceptions import BloqApiError, BloqCertificateError, BloqUnavailable
from airflow_provider_bloq.flow.effects import Request, Response
from airflow_provider_bloq.flow.events import Event, call_event
from airflow_provider_bloq.flow.retry import http_date

__all__ = [
    "USER_AGENT",
    "Network",
    "ca_context",
    "failure_event",
    "no_answer",
    "response_event",
    "wrong_certificate",
]


#: User and password in a URL that an error quotes, such as a proxy's.
_USERINFO = re.compile(r"\S+@")

USER_AGENT = f"airflow-provider-bloq/{__version__}"


@dataclass(frozen=True, slots=True)
class Network:
    """A connection's settings for requests.

    :param timeout: Seconds to wait for a connection, and for each part of a response.
    :param ca_bundle: File or folder of CA certificates, instead of those of the environment.
    """

    timeout: float = 30.0
    ca_bundle: str | None = None


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


def ca_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Return a TLS context. Blocks: it reads files.

    :param ca_bundle: File or folder of CA certificates; None for REQUESTS_CA_BUNDLE or
        CURL_CA_BUNDLE of the environment, else those of ``certifi``, as ``requests`` does.
    :raises OSError: The bundle does not exist or holds no certificates; the message names it.
    """
    bundle = (
        ca_bundle
        or os.environ.get("REQUESTS_CA_BUNDLE")
        or os.environ.get("CURL_CA_BUNDLE")
        or certifi.where()
    )
    try:
        if Path(bundle).is_dir():
            return ssl.create_default_context(capath=bundle)
        return ssl.create_default_context(cafile=bundle)
    except OSError as error:
        # Python's error does not name the file.
        raise OSError(f"the CA bundle {bundle} cannot be used: {error}") from None


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
