"""Looks for a secret in what a server was sent."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from tests.support.raw_server import RawServer

__all__ = ["arrived"]


def arrived(server: RawServer, *secrets: str) -> list[str]:
    """Return those secrets that reached a server in any request, as they are or inside of base64.

    :param secrets: Long enough not to be found by chance.
    """
    assert all(len(secret) >= 12 for secret in secrets)
    sent = "\n".join(
        "\n".join([seen.method, seen.target, repr(dict(seen.headers)), seen.body.decode("latin-1")])
        for seen in server.requests
    )
    return [secret for secret in secrets if any(form in sent for form in _forms(secret))]


def _forms(secret: str) -> Iterable[str]:
    yield secret
    # Base64 looks different at each of three offsets; the ends, which neighbours change, are cut off.
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + secret.encode()).decode()
        yield encoded[4 if offset else 0 : -4]
