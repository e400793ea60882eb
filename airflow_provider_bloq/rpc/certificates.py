"""How the certificates of nodes are checked, and the fingerprints that are expected."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.exceptions import BloqCertificateError
from airflow_provider_bloq.flow.effects import Flow, Pinned, Request
from airflow_provider_bloq.flow.retry import RetryPolicy, sent_with_retries

__all__ = [
    "NodeFingerprints",
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


class NodeFingerprints(Mapping[str, frozenset[str]]):
    """Expected fingerprints by node id; cannot be changed, and can be hashed, copied and dumped."""

    __slots__ = ("_by_node",)

    def __init__(self, by_node: Mapping[str, frozenset[str]]) -> None:
        self._by_node = dict(by_node)

    def __getitem__(self, node_id: str) -> frozenset[str]:
        return self._by_node[node_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_node)

    def __len__(self) -> int:
        return len(self._by_node)

    def __hash__(self) -> int:
        return hash(frozenset(self._by_node.items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._by_node!r})"


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
