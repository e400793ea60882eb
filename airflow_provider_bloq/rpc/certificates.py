"""How the certificates of nodes are checked, and the fingerprints that are expected.

Apart from ``endpoint``, because DAG files load it with the settings of a connection.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "NodeTlsMode",
    "normalise_fingerprint",
]

_BYTES, _HEX_DIGITS = 32, frozenset("0123456789abcdef")


class NodeTlsMode(StrEnum):
    """What makes the certificate of a node acceptable. Bloq's nodes use self-signed certificates.

    Source: https://docs.bloq.com, "Blockchain Node API".
    """

    #: Its SHA-256 fingerprint is one of those expected.
    PINNED = "pinned"
    #: It is signed by a trusted certificate authority.
    VERIFY = "verify"
    #: Any certificate is accepted.
    INSECURE = "insecure"


def normalise_fingerprint(text: str) -> str:
    """Return a SHA-256 fingerprint as 64 lower-case hex characters, the form that is compared.

    :param text: 32 bytes in hex, in either case, with or without colons between them.
    :raises ValueError: It is not a SHA-256 fingerprint.
    """
    pairs = text.strip().lower().split(":")
    digits = "".join(pairs)
    is_grouped = len(pairs) == 1 or [len(pair) for pair in pairs] == [2] * _BYTES
    if is_grouped and len(digits) == 2 * _BYTES and _HEX_DIGITS.issuperset(digits):
        return digits
    raise ValueError("it is not a SHA-256 fingerprint: 32 bytes in hex, with or without colons")
