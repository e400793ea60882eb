"""Connect in the local service: REST and stream of Bitcoin and Bitcoin Cash, JSON-RPC of Ethereum-like chains.

Behind Bitcoin stands a real regtest node; balances, histories and unspent outputs come from an index of its
blocks and its mempool that is brought up to date for every request. Bitcoin Cash is served in the same way: what
stands behind it by default is a Bitcoin node as well, so that its addresses are in Bitcoin's form.
"""

from __future__ import annotations

from airflow_provider_bloq.testing.local.connect.service import ConnectService

__all__ = ["ConnectService"]
