"""What runs behind nodes by default, and how it is started and stopped without holding up the loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from airflow_provider_bloq.testing.local.options import Upstream

__all__ = ["RunningUpstream", "default_upstreams"]

_log = logging.getLogger(__name__)


def default_upstreams() -> Mapping[str, Callable[[], Upstream]]:
    """Return anvil for the chains that it can stand for."""
    return dict.fromkeys(("eth", "etc", "polygon"), _anvil)


def _anvil() -> Upstream:
    from airflow_provider_bloq.testing.anvil import Anvil

    return Anvil()


class RunningUpstream:
    """The chain behind one node: none, starting, running or failed.

    :param chain: The chain's name.
    :param make: Makes what is to run; None if nothing can.
    """

    def __init__(self, chain: str, make: Callable[[], Upstream] | None) -> None:
        self._make = make
        self._upstream: Upstream | None = None
        self.url: str | None = None
        self.absence = f"No chain runs behind this node: there is none for {chain} here"
        if make is not None:
            self.absence = "The node is still starting"

    async def start(self) -> None:
        """Start it, if there is anything to start. A failure is told by :attr:`absence`, not raised."""
        if self._make is None:
            return
        try:
            # Making it may fetch a program, so it does not belong on the loop either.
            self._upstream = await asyncio.to_thread(self._make)
            await asyncio.to_thread(self._upstream.start)
            self.url = self._upstream.url
        except Exception as error:  # whatever a plugged-in chain raises, the service goes on
            _log.exception("what should run behind a node did not start")
            self.absence = f"The chain behind this node did not start: {error}"

    async def stop(self) -> None:
        """Stop it, if it was started."""
        self.url = None
        self.absence = "The node is stopped"
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            await asyncio.to_thread(upstream.stop)
