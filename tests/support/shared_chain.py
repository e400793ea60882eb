"""One real chain behind many nodes."""

from __future__ import annotations

from airflow_provider_bloq.testing.local import Upstream

__all__ = ["SharedChain"]


class SharedChain:
    """What stands behind a node of the local service: a chain that others may have use for, too."""

    def __init__(self, chain: Upstream) -> None:
        self._chain = chain

    @property
    def url(self) -> str:
        return self._chain.url

    def start(self) -> None:
        """It runs already."""

    def stop(self) -> None:
        """It runs on."""
