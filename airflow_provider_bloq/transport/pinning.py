"""Certificates by fingerprint, checked after the handshake and before the first header is sent."""

from __future__ import annotations

import hashlib
from typing import Any, cast

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool

__all__ = ["PinMismatch", "PinnedAdapter", "UncheckedAdapter"]


class PinMismatch(urllib3.exceptions.SSLError):
    """The server's certificate is none of the pinned ones.

    :param fingerprint: SHA-256 fingerprint of the one that it showed, in lower-case hex.
    """

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        super().__init__(f"the certificate shown, SHA-256 fingerprint {fingerprint}, is not the pinned one")


class UncheckedAdapter(HTTPAdapter):
    """Checks no certificate, whatever ``verify`` says: the environment's CA variables override a
    session's own ``verify`` and must not decide here.
    """

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Set the connection up without checks by CA."""
        # Nodes sign their own certificates, which no CA knows: the subclass holds them against a fingerprint.
        super().cert_verify(conn, url, verify=False, cert=cert)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        """Keep the pool of unchecked connections apart from others."""
        return super().build_connection_pool_key_attributes(request, verify=False, cert=cert)


class PinnedAdapter(UncheckedAdapter):
    """Talks only to servers whose certificate has one of these fingerprints.

    :param fingerprints: SHA-256 fingerprints in lower-case hex.
    """

    def __init__(self, fingerprints: frozenset[str], pool_size: int) -> None:
        self._pools: dict[str, type] = {
            "http": urllib3.HTTPConnectionPool,
            "https": _pool_class(fingerprints),
        }
        super().__init__(pool_size, pool_size)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Open pinned connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Open pinned connections through the proxy, too."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager


def _pool_class(fingerprints: frozenset[str]) -> type[HTTPSConnectionPool]:
    class PinnedConnection(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            certificate: bytes | None = cast(Any, self.sock).getpeercert(binary_form=True)
            shown = hashlib.sha256(certificate or b"").hexdigest()
            if shown not in fingerprints:
                # The pool closes it. Closed here, it would be taken for one that never got through its proxy.
                raise PinMismatch(shown)
            self.is_verified = True

    class PinnedPool(HTTPSConnectionPool):
        ConnectionCls = PinnedConnection

    return PinnedPool
