"""What runs behind one chain of Connect; it is started by the first who asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from airflow_provider_bloq.testing.local.options import Upstream
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.upstreams import RunningUpstream, default_upstreams

__all__ = ["LazyUpstream", "default_connect_upstreams"]


def default_connect_upstreams() -> Mapping[str, Callable[[], Upstream]]:
    """Return a Bitcoin node of its own for either UTXO chain, and anvil for the chains that it can stand for."""
    anvil = default_upstreams()
    return {**anvil, "kotti": anvil["etc"], "ropsten": anvil["eth"], "btc": _bitcoind, "bch": _bitcoind}


def _bitcoind() -> Upstream:
    from airflow_provider_bloq.testing.bitcoind import Bitcoind

    return Bitcoind()


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
        if self._upstream.url is None:
            raise ApiProblem(503, "NoChain", self._upstream.absence)
        return self._upstream.url

    async def close(self) -> None:
        """Stop it, if it was started."""
        if self._starting is not None:
            await self._starting
        await self._upstream.stop()
