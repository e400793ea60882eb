"""What runs behind nodes and behind Connect, and how it is started and stopped without holding up the loop."""

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
    """Return anvil for the chains that it can stand for."""
    return dict.fromkeys(("eth", "etc", "polygon"), _anvil)


def default_connect_upstreams() -> Mapping[str, Callable[[], Upstream]]:
    """Return a Bitcoin node of its own for either UTXO chain, and anvil for the chains that it can stand for."""
    anvil = default_upstreams()
    return {**anvil, "kotti": anvil["etc"], "ropsten": anvil["eth"], "btc": _bitcoind, "bch": _bitcoind}


def _anvil() -> Upstream:
    from airflow_provider_bloq.testing.anvil import Anvil

    return Anvil()


def _bitcoind() -> Upstream:
    from airflow_provider_bloq.testing.bitcoind import Bitcoind

    return Bitcoind()


class NodeUpstream(Protocol):
    """What stands behind a node."""

    @property
    def exists(self) -> bool:
        """Tell whether there is a chain, running or not."""

    async def start(self) -> None:
        """Do what is to be done before the node counts as started."""

    async def url(self) -> str:
        """Return the chain's address.

        :raises ApiProblem: There is no chain (503).
        """

    async def stop(self) -> None:
        """Do what is to be done when the node is gone."""


class RunningUpstream:
    """The chain behind one node: none, starting, running or failed.

    :param chain: The chain's name.
    :param make: Makes what is to run; None if nothing can.
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
        """Tell whether there is something to start."""
        return self._make is not None

    async def start(self) -> None:
        """Start it, if there is anything to start. A failure is told by :meth:`url`, not raised."""
        if self._make is None:
            return
        try:
            # Making it may fetch a program, so it does not belong on the loop either.
            self._upstream = await asyncio.to_thread(self._make)
            await asyncio.to_thread(self._upstream.start)
            self._url = self._upstream.url
        except Exception as error:  # whatever a plugged-in chain raises, the service goes on
            _log.exception("what should run behind a node did not start")
            self._absence = f"The chain behind this node did not start: {error}"

    async def url(self) -> str:
        """Return its address.

        :raises ApiProblem: It does not run (503).
        """
        if self._url is None:
            raise ApiProblem(503, "NoChain", self._absence)
        return self._url

    async def stop(self) -> None:
        """Stop it, if it was started."""
        self._url = None
        self._absence = "The node is stopped"
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            await asyncio.to_thread(upstream.stop)


class LazyUpstream:
    """Starts a chain once, when its address is first wanted.

    :param chain: The chain's name.
    :param make: Makes what is to run; None if nothing can.
    """

    def __init__(self, chain: str, make: Callable[[], Upstream] | None) -> None:
        self._chain = chain
        self._make = make
        self._upstream = RunningUpstream(chain, make)
        self._starting: asyncio.Task[None] | None = None

    @property
    def exists(self) -> bool:
        """Tell whether there is something to start."""
        return self._make is not None

    async def start(self) -> None:
        """Wait until it is wanted."""

    async def url(self) -> str:
        """Return its address; the first time this takes as long as the chain takes to start.

        :raises ApiProblem: Nothing runs here (503).
        """
        if self._make is None:
            raise ApiProblem(
                503, "NoChain", f"No {self._chain} chain runs here: connect_upstreams names none for it"
            )
        if self._starting is None:
            self._starting = asyncio.create_task(self._upstream.start())
        # Others wait for the same start, so that one who gives up does not end it.
        await asyncio.shield(self._starting)
        return await self._upstream.url()

    async def stop(self) -> None:
        """Stop it, if it was started."""
        if self._starting is not None:
            await self._starting
        await self._upstream.stop()

    def another(self) -> LazyUpstream:
        """Make one of the same kind, with a chain of its own."""
        return LazyUpstream(self._chain, self._make)


class SharedUpstream:
    """The chain of somebody else, who stops it.

    :param lender: Starts it when it is first wanted.
    """

    def __init__(self, lender: LazyUpstream) -> None:
        self._lender = lender

    @property
    def exists(self) -> bool:
        """Tell whether its owner has something to start."""
        return self._lender.exists

    async def start(self) -> None:
        """Wait until it is wanted."""

    async def url(self) -> str:
        """Return its address, as :meth:`LazyUpstream.url`."""
        return await self._lender.url()

    async def stop(self) -> None:
        """Leave it to its owner."""
