"""The CA certificates that servers are checked against, the same with both HTTP libraries."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import certifi

__all__ = ["ca_context"]


def ca_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Make a TLS context. Blocks: it reads files.

    :param ca_bundle: File or folder of CA certificates; None for REQUESTS_CA_BUNDLE or
        CURL_CA_BUNDLE of the environment, else those of ``certifi``, as ``requests`` does.
    :raises OSError: The bundle does not exist or holds no certificates; names it.
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
        # Python's own error does not name the file.
        raise OSError(f"the CA bundle {bundle} cannot be used: {error}") from None
