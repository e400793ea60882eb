"""The chains of Connect, and the kinds of interface that it has for them."""

from __future__ import annotations

from airflow_provider_bloq.clients.bitcoin_addresses import NETWORKS
from airflow_provider_bloq.clients.limits import require_choice
from airflow_provider_bloq.clients.naming import CONNECT
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["REST_CHAINS", "RPC_CHAINS", "require_network", "require_rest_chain"]

#: Chains with the REST API and the access token.
REST_CHAINS = ("btc", "bch")
#: Chains with JSON-RPC and a path key, as far as their hosts are known.
RPC_CHAINS = ("eth", "etc", "kotti", "ropsten")


def require_rest_chain(chain: object) -> str:
    """Return the name of a chain that has the REST API, in lower case.

    :raises BloqConfigurationError: It has not; names those that have.
    """
    name = chain.strip().lower() if isinstance(chain, str) else chain
    if name in RPC_CHAINS:
        raise BloqConfigurationError.of(
            "chain",
            f"Connect has JSON-RPC only for {name!r}",
            f"Use connect_rpc({name!r}), or node='{CONNECT}{name}' where a node is asked for",
        )
    require_choice("chain", name, REST_CHAINS)
    return str(name)


def require_network(network: object) -> str:
    """Return the name of a network, in lower case.

    :raises BloqConfigurationError: There is none of this name; names those that there are.
    """
    name = network.strip().lower() if isinstance(network, str) else network
    require_choice("network", name, NETWORKS)
    return str(name)
