"""The arguments of event triggers through Connect: checked, stored, and found again by assets and message queues."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.messaging.triggers import msg_queue
from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger
from airflow.triggers.base import BaseEventTrigger

from airflow_provider_bloq.assets import bloq
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.queues.bloq import BloqConnectBlockQueue, BloqPaymentQueue
from airflow_provider_bloq.triggers.chain_events import (
    BloqAddressTrigger,
    BloqBlockTrigger,
    BloqConnectBlockTrigger,
    BloqEventTrigger,
    BloqPaymentTrigger,
)

pytestmark = pytest.mark.logic

LEGACY = "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"
SEGWIT = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"
CASH = "bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a"


def test_a_trigger_survives_being_stored() -> None:
    for trigger in [
        BloqConnectBlockTrigger(chain="btc", every=10, max_range=20, confirmations=3, start=5, label="mine"),
        BloqConnectBlockTrigger(chain="BCH", network="testnet", stream=False),
        BloqPaymentTrigger(chain="btc", addresses=[SEGWIT.upper(), LEGACY], direction="to"),
        BloqPaymentTrigger(chain="bch", addresses=CASH, network="mainnet"),
    ]:
        classpath, arguments = trigger.serialize()
        stored = json.loads(json.dumps(arguments))
        assert stored == arguments
        anew = type(trigger)(**stored)
        assert anew.serialize() == (classpath, arguments)
        assert (anew.checkpoint_key, anew.target, anew.event_builder) == (
            trigger.checkpoint_key,
            trigger.target,
            trigger.event_builder,
        )
        assert BaseEventTrigger.hash(classpath, stored) == BaseEventTrigger.hash(*anew.serialize())


def test_its_place_belongs_to_what_is_watched() -> None:
    for changed, stays in [
        ({"bloq_conn_id": "other"}, True),
        ({"poll_interval": 3.0}, True),
        ({"stream": False}, True),
        ({"start": 5}, True),
        ({"chain": "bch"}, False),
        ({"network": "testnet"}, False),
        ({"confirmations": 3}, False),
        ({"every": 3}, False),
    ]:
        before, after = (
            BloqConnectBlockTrigger(chain="btc"),
            BloqConnectBlockTrigger(**{"chain": "btc", **changed}),
        )
        assert (before.checkpoint_key == after.checkpoint_key) is stays


def test_who_watches_the_same_shares_its_looks() -> None:
    every, tenth = BloqConnectBlockTrigger(chain="btc"), BloqConnectBlockTrigger(chain="btc", every=10)
    assert every.target == tenth.target == BloqPaymentTrigger(chain="btc", addresses=LEGACY).target
    assert every.target != BloqConnectBlockTrigger(chain="btc", confirmations=1).target


def test_what_cannot_be_is_refused_where_it_is_written() -> None:
    for kind, arguments, field in [
        (BloqConnectBlockTrigger, {"chain": "eth"}, "chain"),
        (BloqConnectBlockTrigger, {"network": "moonnet"}, "network"),
        (BloqConnectBlockTrigger, {"confirmations": 0}, "confirmations"),
        (BloqConnectBlockTrigger, {"every": 0}, "every"),
        (BloqConnectBlockTrigger, {"poll_interval": 0}, "poll_interval"),
        (BloqPaymentTrigger, {"addresses": []}, "addresses"),
        (BloqPaymentTrigger, {"addresses": CASH}, "addresses"),
        (BloqPaymentTrigger, {"addresses": SEGWIT, "network": "testnet"}, "addresses"),
        (BloqPaymentTrigger, {"addresses": SEGWIT, "direction": "up"}, "direction"),
    ]:
        with pytest.raises(BloqConfigurationError) as wrong:
            kind(**{"chain": "btc", **arguments})
        assert wrong.value.fields == (field,)


def test_an_asset_keeps_its_place_when_a_node_gives_way_to_connect() -> None:
    def place(kind: type, asset: Any) -> str:
        (watcher,) = asset.watchers
        trigger: BloqEventTrigger = watcher.trigger
        assert type(trigger) is kind
        return trigger.checkpoint_key

    blocks = bloq.blocks("btc", "mainnet", connect=True, confirmations=3)
    assert blocks.uri == "bloq://btc/mainnet/blocks"
    assert place(BloqConnectBlockTrigger, blocks) == place(
        BloqBlockTrigger, bloq.blocks("btc", "mainnet", node="node-1")
    )
    watching: dict[str, Any] = {"addresses": LEGACY, "direction": "to"}
    assert place(
        BloqPaymentTrigger, bloq.addresses("btc", "mainnet", "shop", connect=True, **watching)
    ) == place(BloqAddressTrigger, bloq.addresses("btc", "mainnet", "shop", node="node-1", **watching))


def test_an_asset_that_cannot_be_watched_through_connect_is_refused() -> None:
    for arguments, field in [
        ({"chain": "btc", "network": "mainnet", "connect": True, "node": "node-1"}, "connect"),
        ({"chain": "doge", "network": "mainnet", "connect": True}, "chain"),
        ({"chain": "btc", "network": "moonnet", "connect": True}, "network"),
    ]:
        with pytest.raises(BloqConfigurationError) as wrong:
            bloq.blocks(**arguments)
        assert wrong.value.fields == (field,)


def test_a_scheme_of_message_queues_leads_to_its_trigger(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = [BloqConnectBlockQueue(), BloqPaymentQueue()]
    monkeypatch.setattr(msg_queue, "MESSAGE_QUEUE_PROVIDERS", queues)
    blocks = MessageQueueTrigger(scheme="bloq+connect", chain="btc", every=5)
    assert blocks.serialize() == BloqConnectBlockTrigger(chain="btc", every=5).serialize()
    payments = MessageQueueTrigger(scheme="bloq+payments", chain="btc", addresses=LEGACY)
    assert payments.serialize() == BloqPaymentTrigger(chain="btc", addresses=LEGACY).serialize()
