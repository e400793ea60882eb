"""The JSON-RPC that Connect has for Ethereum-like chains, where a key in the path is the credential."""

from __future__ import annotations

from typing import Protocol

from airflow_provider_bloq.auth.flow import Flow, Unpinned, block, mask
from airflow_provider_bloq.auth.secret import REDACTED, Secret
from airflow_provider_bloq.clients.rpc_target import RpcTarget

__all__ = ["PathKeyLocator", "PathKeySource"]


class PathKeySource(Protocol):
    """A place that path keys are read from."""

    def load(self, chain: str) -> Secret:
        """Read the key of a chain now. May block.

        :raises BloqConfigurationError: There is none.
        :raises BloqVaultUnavailable: The place cannot be reached at present.
        """


class PathKeyLocator:
    """Finds the JSON-RPC of a chain in Connect, and its key again where it is refused.

    :param url: Base URL of Connect for the chain.
    :param chain: The chain.
    :param keys: Where its key is.
    """

    def __init__(self, url: str, chain: str, keys: PathKeySource) -> None:
        self._url = url
        self._chain = chain
        self._keys = keys
        self._target: RpcTarget | None = None

    def locate(self, *, anew: bool = False) -> Flow[RpcTarget]:
        """Return where the calls go; found out once.

        :param anew: Whether to read the key again first.
        """
        if self._target is None or anew:
            key = yield from block(lambda: self._keys.load(self._chain))
            yield from mask(key)
            self._target = RpcTarget(
                f"{self._url}/v1/{REDACTED}", "2.0", Unpinned.VERIFY, chain=self._chain, path_key=key
            )
        return self._target
