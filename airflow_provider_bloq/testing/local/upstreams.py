"""The chains behind nodes and Connect, started and stopped without blocking the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from airflow_provider_bloq.testing.local.options import Upstream
from airflow_provider_bloq.testing.local.problems import ApiProblem

__all__ = [
    "LazyUpstream",
    "NodeUpstream",
    "RunningUpstream",
    "SharedUpstream",
    "default_connect_upstreams",
    "default_upstreams",
]


_log = logging.getLogger(__name__)


def default_upstreams() -> Mapping[str, Callable[[], Upstream]]:
    """Return anvil for the chains that it can simulate."""
    return dict.fromkeys(("eth", "etc", "polygon"), _anvil)


def default_connect_upstreams() -> Mapping[str, Callable[[], Upstream]]:
    """Return a Bitcoin node for each UTXO chain, and anvil for the chains that it can simulate."""
    anvil = default_upstreams()
    return {**anvil, "kotti": anvil["etc"], "ropsten": anvil["eth"], "btc": _bitcoind, "bch": _bitcoind}


def _anvil() -> Upstream:
    from airflow_provider_bloq.testing.anvil import Anvil

    return Anvil()


def _bitcoind() -> Upstream:
    from airflow_provider_bloq.testing.bitcoind import Bitcoind

    return Bitcoind()


class NodeUpstream(Protocol):
    """The chain behind a node."""

    @property
    def exists(self) -> bool:
        """Whether there is a chain, running or not."""

    async def start(self) -> None:
        """Start what must run before the node counts as started."""

    async def url(self) -> str:
        """Return the URL of the chain.

        :raises ApiProblem: There is no chain (503).
        """

    async def stop(self) -> None:
        """Stop what only this node uses."""


class RunningUpstream:
    """A chain that starts with its node.

    :param chain: Name of the chain.
    :param make: Creates the server; None if there is none.
    """

    def __init__(self, chain: str, make: Callable[[], Upstream] | None) -> None:
        self._make = make
        self._upstream: Upstream | None = None
        self._url: str | None = None
        self._absence = f"No chain runs behind this node: there is none for {chain} here"
        if make is not None:
            self._absence = "The node is still starting"

    @property
    def exists(self) -> bool:
        return self._make is not None

    async def start(self) -> None:
        """Start the chain if there is one. :meth:`url` reports a failure."""
        if self._make is None:
            return
        try:
            # In a thread as well, because this may download a program.
            self._upstream = await asyncio.to_thread(self._make)
            await asyncio.to_thread(self._upstream.start)
            self._url = self._upstream.url
        except Exception as error:  # a chain of the options may raise anything
            _log.exception("the chain behind a node did not start")
            self._absence = f"The chain behind this node did not start: {error}"

    async def url(self) -> str:
        if self._url is None:
            raise ApiProblem(503, "NoChain", self._absence)
        return self._url

    async def stop(self) -> None:
        self._url = None
        self._absence = "The node is stopped"
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            await asyncio.to_thread(upstream.stop)


class LazyUpstream:
    """A chain that starts when its URL is first requested.

    :param chain: Name of the chain.
    :param make: Creates the server; None if there is none.
    """

    def __init__(self, chain: str, make: Callable[[], Upstream] | None) -> None:
        self._chain = chain
        self._make = make
        self._upstream = RunningUpstream(chain, make)
        self._starting: asyncio.Task[None] | None = None

    @property
    def exists(self) -> bool:
        return self._make is not None

    async def start(self) -> None:
        """Do nothing."""

    async def url(self) -> str:
        if self._make is None:
            raise ApiProblem(
                503, "NoChain", f"No {self._chain} chain runs here: connect_upstreams names none for it"
            )
        if self._starting is None:
            self._starting = asyncio.create_task(self._upstream.start())
        # Other requests wait for the same start, so cancelling one must not end it.
        await asyncio.shield(self._starting)
        return await self._upstream.url()

    async def stop(self) -> None:
        if self._starting is not None:
            await self._starting
        await self._upstream.stop()

    def copy(self) -> LazyUpstream:
        """Return an upstream of the same kind with a separate chain."""
        return LazyUpstream(self._chain, self._make)


class SharedUpstream:
    """A chain that others use as well.

    :param owner: Starts and stops the chain.
    """

    def __init__(self, owner: LazyUpstream) -> None:
        self._owner = owner

    @property
    def exists(self) -> bool:
        return self._owner.exists

    async def start(self) -> None:
        """Do nothing."""

    async def url(self) -> str:
        return await self._owner.url()

    async def stop(self) -> None:
        """Do nothing: the owner stops it."""
