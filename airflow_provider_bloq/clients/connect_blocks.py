"""What Connect tells of blocks and of itself, as values; see :mod:`.connect_fields` for how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.clients.connect_fields import object_of, satoshi_of, text_of, whole_number_of
from airflow_provider_bloq.clients.connect_models import ConnectValue
from airflow_provider_bloq.exceptions import BloqUnavailable

__all__ = ["Block", "BlockSummary", "BlocksOfDay", "ChainInfo", "LastBlock", "Peer", "SyncStatus"]


@dataclass(frozen=True, slots=True)
class Block(ConnectValue):
    """A block.

    :param hash: Its hash.
    :param height: Its number.
    :param time: When it was made, as its miner wrote, in seconds since the epoch.
    :param confirmations: How many it has; -1 if it is not of the best chain.
    :param previous_hash: Hash of the block before; None for the first of all.
    :param next_hash: Hash of the block after; None for the newest.
    :param txids: Its transactions, in their order.
    :param reward_sat: New coins of it, in satoshi.
    :param size: Its bytes.
    :param is_main_chain: Whether it is of the best chain.
    """

    hash: str
    height: int
    time: int
    confirmations: int
    previous_hash: str | None
    next_hash: str | None
    txids: tuple[str, ...]
    reward_sat: int | None
    size: int | None
    is_main_chain: bool

    @classmethod
    def from_json(cls, item: Any) -> Block:
        """Read what ``/block/{hash}`` gives."""
        fields = object_of(item, "a block")
        summary = BlockSummary.from_json(fields)
        confirmations = whole_number_of(fields, "confirmations")
        listed = fields.get("tx")
        return cls(
            hash=summary.hash,
            height=summary.height,
            time=summary.time,
            confirmations=0 if confirmations is None else confirmations,
            previous_hash=text_of(fields, "previousblockhash"),
            next_hash=text_of(fields, "nextblockhash"),
            txids=tuple(map(str, listed)) if isinstance(listed, list) else (),
            reward_sat=None if fields.get("reward") is None else satoshi_of(fields["reward"]),
            size=summary.size,
            is_main_chain=fields.get("isMainChain") is not False and confirmations != -1,
        )


@dataclass(frozen=True, slots=True)
class BlockSummary(ConnectValue):
    """A block in a list.

    :param hash: Its hash.
    :param height: Its number.
    :param time: When it was made, as its miner wrote, in seconds since the epoch.
    :param size: Its bytes.
    :param transaction_count: Its transactions.
    """

    hash: str
    height: int
    time: int
    size: int | None
    transaction_count: int | None

    @classmethod
    def from_json(cls, item: Any) -> BlockSummary:
        """Read an item of ``/blocks``."""
        fields = object_of(item, "a block")
        block_hash, height = text_of(fields, "hash"), whole_number_of(fields, "height")
        if block_hash is None or height is None:
            raise BloqUnavailable("Connect gave a block without hash or height.")
        return cls(
            hash=block_hash,
            height=height,
            time=whole_number_of(fields, "time") or 0,
            size=whole_number_of(fields, "size"),
            transaction_count=whole_number_of(fields, "txlength"),
        )


@dataclass(frozen=True, slots=True)
class BlocksOfDay(ConnectValue):
    """The blocks of one day, the newest first.

    :param blocks: The blocks, as many as were asked for.
    :param more: Whether the day has further ones, which come before the last of these.
    """

    blocks: tuple[BlockSummary, ...]
    more: bool

    @classmethod
    def from_json(cls, item: Any) -> BlocksOfDay:
        """Read what ``/blocks`` gives."""
        fields = object_of(item, "a list of blocks")
        blocks, pagination = fields.get("blocks"), fields.get("pagination")
        return cls(
            blocks=tuple(BlockSummary.from_json(one) for one in blocks) if isinstance(blocks, list) else (),
            more=isinstance(pagination, dict) and pagination.get("more") is True,
        )


@dataclass(frozen=True, slots=True)
class ChainInfo(ConnectValue):
    """What Connect's node tells of itself.

    :param height: Number of its newest block.
    :param network: Its network as it calls it, such as ``livenet`` or ``main``.
    :param connections: Its peers.
    :param version: Its version, as a number.
    :param relay_fee_sat_per_kb: The least fee that it passes on, in satoshi per 1000 bytes.
    :param errors: What it complains about.
    """

    height: int
    network: str | None
    connections: int | None
    version: int | None
    relay_fee_sat_per_kb: int | None
    errors: str | None

    @classmethod
    def from_json(cls, item: Any) -> ChainInfo:
        """Read what ``/status?q=getInfo`` gives."""
        fields = object_of(object_of(item, "a status").get("info"), "a status")
        height = whole_number_of(fields, "blocks")
        if height is None:
            raise BloqUnavailable("Connect gave a status without the number of blocks.")
        return cls(
            height=height,
            network=text_of(fields, "network"),
            connections=whole_number_of(fields, "connections"),
            version=whole_number_of(fields, "version"),
            relay_fee_sat_per_kb=None if fields.get("relayfee") is None else satoshi_of(fields["relayfee"]),
            errors=text_of(fields, "errors"),
        )


@dataclass(frozen=True, slots=True)
class LastBlock(ConnectValue):
    """The newest block, twice.

    :param synced_hash: Hash of the newest block that Connect has taken in.
    :param last_hash: Hash of the newest block of its node.
    """

    synced_hash: str | None
    last_hash: str | None

    @classmethod
    def from_json(cls, item: Any) -> LastBlock:
        """Read what ``/status?q=getLastBlockHash`` gives."""
        fields = object_of(item, "a status")
        return cls(text_of(fields, "syncTipHash"), text_of(fields, "lastblockhash"))


@dataclass(frozen=True, slots=True)
class SyncStatus(ConnectValue):
    """How far Connect has taken in its chain.

    :param status: Such as ``finished``.
    :param height: Number of the newest block that it has taken in.
    :param chain_height: Number of the newest block that there is.
    :param percentage: How much it has, from 0 to 100.
    :param error: What went wrong.
    """

    status: str | None
    height: int | None
    chain_height: int | None
    percentage: float | None
    error: str | None

    @classmethod
    def from_json(cls, item: Any) -> SyncStatus:
        """Read what ``/sync`` gives."""
        fields = object_of(item, "a state of sync")
        try:
            percentage = float(fields["syncPercentage"])
        except (KeyError, TypeError, ValueError):
            percentage = None
        return cls(
            status=text_of(fields, "status"),
            height=whole_number_of(fields, "height"),
            chain_height=whole_number_of(fields, "blockChainHeight"),
            percentage=percentage,
            error=text_of(fields, "error"),
        )


@dataclass(frozen=True, slots=True)
class Peer(ConnectValue):
    """The node behind Connect.

    :param connected: Whether Connect is connected to it.
    """

    connected: bool

    @classmethod
    def from_json(cls, item: Any) -> Peer:
        """Read what ``/peer`` gives."""
        return cls(object_of(item, "a peer").get("connected") is True)
