"""How the certificates of nodes are checked, and the fingerprints that are expected."""

from __future__ import annotations

import re
from enum import StrEnum

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.exceptions import BloqCertificateError
from airflow_provider_bloq.flow.effects import Flow, Pinned, Request
from airflow_provider_bloq.flow.retry import RetryPolicy, sent_with_retries

__all__ = [
    "NodeTlsMode",
    "fetch_fingerprint",
    "normalise_fingerprint",
]


_FINGERPRINT = re.compile(r"[0-9a-f]{64}|[0-9a-f]{2}(?::[0-9a-f]{2}){31}", re.ASCII)


class NodeTlsMode(StrEnum):
    """What makes the certificate of a node acceptable. Bloq's nodes sign their own.

    (https://docs.bloq.com, "Blockchain Node API".)
    """

    #: Its SHA-256 fingerprint is an expected one.
    PINNED = "pinned"
    #: A certificate authority vouches for it.
    VERIFY = "verify"
    #: Anything: whoever answers at the address is believed to be the node.
    INSECURE = "insecure"


def normalise_fingerprint(text: str) -> str:
    """Bring a SHA-256 fingerprint into the spelling that is compared.

    :param text: 32 bytes in hex, in either case, with or without colons between them.
    :return: 64 lower-case hex characters.
    :raises ValueError: It is no such fingerprint.
    """
    lowered = text.strip().lower()
    if not _FINGERPRINT.fullmatch(lowered):
        raise ValueError("it is no SHA-256 fingerprint: 32 bytes in hex, with or without colons")
    return lowered.replace(":", "")


def fetch_fingerprint(origin: Origin, policy: RetryPolicy) -> Flow[str | None]:
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
            Request("HEAD", f"{origin}/", trust=Pinned(frozenset())), policy, idempotent=True
        )
    except BloqCertificateError as refusal:
        return refusal.fingerprint
    return None
