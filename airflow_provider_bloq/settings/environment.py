"""The environments of Bloq Cloud and where their services are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Environment", "Presets"]


class Environment(StrEnum):
    """Which Bloq Cloud is spoken to; the names are those of Bloq's own command-line client."""

    PROD = "prod"
    STAGING = "staging"
    LOCAL = "local"

    @property
    def presets(self) -> Presets:
        """The addresses that hold where the connection names none."""
        return _PRESETS[self]


@dataclass(frozen=True, slots=True)
class Presets:
    """Base URLs of the services of one environment, without a trailing slash.

    :param accounts_url: Accounts (https://docs.bloq.com, "Accounts API").
    :param nodes_url: Nodes (https://docs.bloq.com, "Nodes API").
    :param connect_url: Connect; ``{chain}`` stands for the chain where each has a host of its own.
    """

    accounts_url: str
    nodes_url: str
    connect_url: str


_PRESETS = {
    Environment.PROD: Presets(
        accounts_url="https://accounts.bloq.cloud",
        nodes_url="https://nodes.bloq.cloud",
        connect_url="https://{chain}.connect.bloq.cloud",
    ),
    Environment.STAGING: Presets(
        accounts_url="https://accounts.bloqclouddev.com",
        nodes_url="https://nodes.bloqclouddev.com",
        connect_url="https://{chain}.connect.bloqclouddev.com",
    ),
    Environment.LOCAL: Presets(
        accounts_url="http://localhost:4000",
        nodes_url="http://localhost:4002",
        connect_url="http://localhost:4006",
    ),
}
