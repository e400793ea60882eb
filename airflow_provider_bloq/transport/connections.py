"""The connections of an event loop to others, made by ``aiohttp`` under the connection's rules."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp
from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy

from airflow_provider_bloq.auth.flow import Pinned, Request, Response, Trust, Unpinned
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.clients.errors import error_of
from airflow_provider_bloq.exceptions import BloqApiError
from airflow_provider_bloq.transport.certificates import ca_context
from airflow_provider_bloq.transport.network import USER_AGENT, Network, no_answer

__all__ = ["Connections", "proxy_for"]

#: Seconds that a server may take to agree that a WebSocket is closed.
FAREWELL = 2.0


class Connections:
    """Keeps connections open until :meth:`close`, after which they are made anew where they are wanted.

    :param network: The connection's settings.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._session: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None

    @property
    def is_open(self) -> bool:
        """Whether connections may be kept open."""
        return self._session is not None

    def session(self) -> aiohttp.ClientSession:
        """Return the session; requests through it need :meth:`tls_for` and :func:`proxy_for` as well."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._network.timeout, sock_read=self._network.timeout
                ),
                headers={"User-Agent": f"{USER_AGENT} aiohttp/{aiohttp.__version__}"},
                cookie_jar=aiohttp.DummyCookieJar(),
                # The environment's proxies are looked up here; by itself aiohttp would read .netrc too.
                trust_env=False,
                trace_configs=[_refusing_redirects()],
            )
        return self._session

    async def tls_for(self, trust: Trust) -> Any:
        """Return what makes a server's certificate acceptable, as ``aiohttp`` takes it.

        :raises OSError: The CA bundle does not exist.
        """
        if isinstance(trust, Pinned):
            return _Pins(trust.fingerprints)
        if trust is Unpinned.INSECURE:
            return False
        if self._tls is None:
            self._tls = await asyncio.to_thread(ca_context, self._network.ca_bundle)
        return self._tls

    async def open_websocket(
        self, request: Request, query: Mapping[str, Secret | str]
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket; whoever asks for it closes it.

        :param request: How it is opened, without the query.
        :param query: The query, which may hold secrets. It makes the URL a secret: no error quotes it.
        :raises BloqApiError: The server does not open one; ``status`` tells what it answered.
        """
        try:
            return await self._opened(request, query)
        except aiohttp.WSServerHandshakeError as refused:
            headers = {name.lower(): value for name, value in (refused.headers or {}).items()}
            failure: BloqApiError = error_of(request, Response(refused.status, headers))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = no_answer(request, error, acted=False)
        # Raised out here, since the errors of aiohttp hold the URL and would go along as the context.
        raise failure

    async def close(self) -> None:
        """Close what is open."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _opened(
        self, request: Request, query: Mapping[str, Secret | str]
    ) -> aiohttp.ClientWebSocketResponse:
        return await self.session().ws_connect(
            request.url,
            params={name: one.reveal() if isinstance(one, Secret) else one for name, one in query.items()},
            headers=dict(request.headers),
            ssl=await self.tls_for(request.trust) if request.url.startswith("https:") else True,
            proxy=proxy_for(request.url),
            timeout=aiohttp.ClientWSTimeout(ws_close=FAREWELL),
        )


def proxy_for(url: str) -> str | None:
    """Return the environment's proxy for a URL, by the rules of ``requests``."""
    proxy = select_proxy(url, get_environ_proxies(url))
    return prepend_scheme_if_needed(proxy, "http") if proxy else None


class _Pins(aiohttp.Fingerprint):
    """Several fingerprints where aiohttp's own class knows one."""

    def __init__(self, fingerprints: frozenset[str]) -> None:
        super().__init__(bytes(32))
        self._fingerprints = fingerprints

    # Equal pins share connections; different ones must not.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pins) and other._fingerprints == self._fingerprints

    def __hash__(self) -> int:
        return hash(self._fingerprints)

    def check(self, transport: asyncio.Transport) -> None:
        shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
        digest = hashlib.sha256(shown).digest()
        if digest.hex() not in self._fingerprints:
            host, port, *_ = transport.get_extra_info("peername")
            raise aiohttp.ServerFingerprintMismatch(self.fingerprint, digest, host, port)


class _RedirectRefused(aiohttp.ClientError):
    """A server would have the request made elsewhere."""


def _refusing_redirects() -> aiohttp.TraceConfig:
    """Make what ends a request that is redirected.

    None is documented, and one would carry the client keys on. To open a WebSocket, aiohttp follows unasked.
    """

    async def refuse(*_: object) -> None:
        raise _RedirectRefused

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(refuse)
    return config
