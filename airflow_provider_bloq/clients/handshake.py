"""Reads which certificate a server shows, without sending it anything."""

from __future__ import annotations

from airflow_provider_bloq.auth.flow import Flow, Pinned, Request
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.clients.retry import RetryPolicy, sent_with_retries
from airflow_provider_bloq.exceptions import BloqCertificateError

__all__ = ["shown_fingerprint"]


def shown_fingerprint(origin: Origin, policy: RetryPolicy) -> Flow[str | None]:
    """Read the certificate that a server shows; a flow.

    No certificate is the pinned one where none is pinned, so that the connection ends with the
    handshake, before the first header.

    :param origin: The server.
    :param policy: How patiently; a node may answer some time after it is said to have started.
    :return: SHA-256 fingerprint in lower-case hex; None where the server showed none.
    :raises BloqUnavailable: It cannot be reached, or does not speak TLS.
    """
    try:
        yield from sent_with_retries(
            Request("HEAD", f"{origin}/", trust=Pinned(frozenset())), policy, repeatable=True
        )
    except BloqCertificateError as refusal:
        return refusal.fingerprint
    return None
