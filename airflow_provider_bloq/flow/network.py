"""Settings that each request of a connection follows: the timeout and the CA certificates."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import certifi

from airflow_provider_bloq import __version__

__all__ = [
    "USER_AGENT",
    "Network",
    "ca_context",
]


USER_AGENT = f"airflow-provider-bloq/{__version__}"


@dataclass(frozen=True, slots=True)
class Network:
    """A connection's settings for requests.

    :param timeout: Seconds to wait for a connection, and for each part of a response.
    :param ca_bundle: File or folder of CA certificates, instead of those of the environment.
    """

    timeout: float = 30.0
    ca_bundle: str | None = None


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
