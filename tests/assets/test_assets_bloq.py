"""``bloq://`` assets: their URIs have one form, and their watchers a place of their own."""

from __future__ import annotations

import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_provider_bloq.assets import bloq
from airflow_provider_bloq.assets.bloq import sanitize_uri
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.triggers.chain_events import BloqAddressTrigger, BloqBlockTrigger, BloqLogsTrigger

ADDRESS = "0x" + "ab" * 20


def sanitized(uri: str) -> str:
    return sanitize_uri(urlsplit(uri)).geturl()


def test_a_uri_is_brought_into_one_form() -> None:
    for written, form in [
        ("bloq://eth/mainnet/blocks", "bloq://eth/mainnet/blocks"),
        ("BLOQ://ETH/MainNet/Blocks/", "bloq://eth/mainnet/blocks"),
        ("bloq://btc/testnet/addresses/Cold-Wallet", "bloq://btc/testnet/addresses/cold-wallet"),
        ("bloq://polygon/mainnet/logs/usdc.v2", "bloq://polygon/mainnet/logs/usdc.v2"),
    ]:
        assert sanitized(written) == form
        assert sanitized(form) == form


def test_any_other_is_refused() -> None:
    for uri in [
        "bloq://eth",
        "bloq://eth/mainnet",
        "bloq:///mainnet/blocks",
        "bloq://eth//blocks",
        "bloq://eth/mainnet/transactions",
        "bloq://eth/mainnet/blocks/1",
        "bloq://eth/mainnet/addresses",
        "bloq://eth/mainnet/addresses/a/b",
        "bloq://eth/mainnet/logs/_",
        "bloq://eth/main_net/blocks",
        "bloq://eth:8545/mainnet/blocks",
        "bloq://user@eth/mainnet/blocks",
        "bloq://eth/mainnet/blocks?from=1",
        "bloq://eth/mainnet/blocks#last",
    ]:
        with pytest.raises(BloqConfigurationError, match=r"bloq://eth/mainnet/blocks\.$"):
            sanitized(uri)


def test_a_password_in_a_uri_is_refused_and_not_shown() -> None:
    with pytest.raises(BloqConfigurationError) as wrong:
        sanitized("bloq://user:a-fine-password@eth/mainnet/blocks")
    assert "a-fine-password" not in str(wrong.value)


def test_an_asset_has_its_watcher() -> None:
    for asset, uri, kind in [
        (
            bloq.blocks("ETH", "mainnet", node="node-1", every=10),
            "bloq://eth/mainnet/blocks",
            BloqBlockTrigger,
        ),
        (
            bloq.addresses("eth", "mainnet", "treasury", addresses=ADDRESS, node="node-1"),
            "bloq://eth/mainnet/addresses/treasury",
            BloqAddressTrigger,
        ),
        (
            bloq.logs("eth", "mainnet", "usdc", addresses=ADDRESS, node="node-1"),
            "bloq://eth/mainnet/logs/usdc",
            BloqLogsTrigger,
        ),
    ]:
        assert (asset.uri, asset.name) == (uri, uri)
        (watcher,) = asset.watchers
        assert type(watcher.trigger) is kind


def test_the_place_stays_with_the_asset_when_the_node_changes() -> None:
    def place(**arguments: Any) -> str:
        (watcher,) = bloq.blocks("eth", "mainnet", **arguments).watchers
        assert isinstance(watcher.trigger, BloqBlockTrigger)
        return watcher.trigger.checkpoint_key

    assert place(node="node-1") == place(node="node-2", confirmations=3)
    assert place(node="node-1", label="another") != place(node="node-1")


def test_an_asset_may_be_without_a_watcher() -> None:
    asset = bloq.blocks("eth", "mainnet", name="eth blocks")
    assert (asset.name, asset.uri, asset.watchers) == ("eth blocks", "bloq://eth/mainnet/blocks", [])


def test_what_cannot_be_watched_is_refused() -> None:
    for make, field in [
        (lambda: bloq.blocks("eth", "mainnet", every=10), "node"),
        (lambda: bloq.addresses("eth", "mainnet", "treasury", addresses=ADDRESS), "node"),
        (lambda: bloq.addresses("eth", "mainnet", "a/b", addresses=ADDRESS, node="node-1"), "uri"),
        (lambda: bloq.addresses("eth", "mainnet", "treasury", node="node-1"), "addresses"),
        (lambda: bloq.blocks("e t h", "mainnet", node="node-1"), "uri"),
    ]:
        with pytest.raises(BloqConfigurationError) as wrong:
            make()
        assert wrong.value.fields == (field,)


def test_the_module_loads_no_triggers_before_an_asset_is_made() -> None:
    loaded = (
        "import sys, airflow_provider_bloq.assets.bloq as b; b.sanitize_uri;"
        "print(sorted(m for m in sys.modules if m.startswith(('airflow.triggers', 'airflow_provider_bloq.triggers'))))"
    )
    result = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert result.stdout.strip().splitlines()[-1] == "[]"
