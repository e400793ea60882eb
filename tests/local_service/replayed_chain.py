"""What a Bitcoin node's blocks say of each address, by going through all of them from the first.

Shares no code with the service: it keeps no index, and reads less of a block (verbosity 2).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_bloq.testing.bitcoind import Bitcoind


@dataclass
class Sums:
    """One address, in satoshi; transactions in the order of the chain."""

    received: int = 0
    sent: int = 0
    txids: list[str] = field(default_factory=list)


@dataclass
class ReplayedChain:
    """The best chain at one moment.

    :param unspent: (txid, output) → (address, satoshi, height).
    """

    height: int
    sums: dict[str, Sums]
    unspent: dict[tuple[str, int], tuple[str, int, int]]

    def coins_of(self, address: str) -> dict[tuple[str, int], tuple[int, int]]:
        """Return an address's unspent outputs: value and confirmations."""
        return {
            outpoint: (satoshi, self.height - height + 1)
            for outpoint, (owner, satoshi, height) in self.unspent.items()
            if owner == address
        }


def replay(node: Bitcoind) -> ReplayedChain:
    """Go through all blocks."""
    sums: defaultdict[str, Sums] = defaultdict(Sums)
    unspent: dict[tuple[str, int], tuple[str, int, int]] = {}
    top = node.height
    # The first block's coins cannot be spent.
    for height in range(1, top + 1):
        for transaction in node.rpc("getblock", node.block_hash(height), 2)["tx"]:
            _apply(transaction, height, sums, unspent)
    return ReplayedChain(top, dict(sums), unspent)


def _apply(
    transaction: dict[str, Any],
    height: int,
    sums: defaultdict[str, Sums],
    unspent: dict[tuple[str, int], tuple[str, int, int]],
) -> None:
    touched: dict[str, None] = {}
    for spent in transaction["vin"]:
        if "coinbase" not in spent:
            owner, satoshi, _ = unspent.pop((spent["txid"], spent["vout"]))
            sums[owner].sent += satoshi
            touched[owner] = None
    for output in transaction["vout"]:
        owner = output["scriptPubKey"].get("address")
        if owner is not None:
            satoshi = round(output["value"] * 100_000_000)
            sums[owner].received += satoshi
            unspent[transaction["txid"], output["n"]] = (owner, satoshi, height)
            touched[owner] = None
    for owner in touched:
        sums[owner].txids.append(transaction["txid"])
