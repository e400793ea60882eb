"""The arguments of event triggers: checked where they are given, stored as JSON, and what they make of a place."""

from __future__ import annotations

import json

import pytest
from airflow.triggers.base import BaseEventTrigger

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.triggers.chain_events import BloqAddressTrigger, BloqBlockTrigger, BloqLogsTrigger

pytestmark = pytest.mark.logic

NODE = {"id": "node-1", "chain": "eth", "auth": {"type": "jwt"}, "tls_fingerprint": "AB" * 32}
ADDRESS = "0x" + "Cd" * 20
TRIGGERS = [
    BloqBlockTrigger(node=NODE, every=10, max_range=20, finality="finalized", start=5, label="mine"),
    BloqBlockTrigger(node="node-2"),
    BloqAddressTrigger(node=NODE, addresses=ADDRESS, direction="to", tokens=[ADDRESS], confirmations=2),
    BloqLogsTrigger(
        node="https://node.example.com", family="evm", addresses=ADDRESS, topics=[None, "0x" + "11" * 32]
    ),
]


def test_a_trigger_survives_being_stored() -> None:
    for trigger in TRIGGERS:
        classpath, arguments = trigger.serialize()
        stored = json.loads(json.dumps(arguments))
        assert stored == arguments
        anew = type(trigger)(**stored)
        assert anew.serialize() == (classpath, arguments)
        assert anew.checkpoint_key == trigger.checkpoint_key
        assert BaseEventTrigger.hash(classpath, stored) == BaseEventTrigger.hash(*anew.serialize())


def test_each_trigger_has_a_stream_of_its_own() -> None:
    same, other = BloqBlockTrigger(node=NODE), BloqBlockTrigger(node=NODE)
    same.trigger_id, other.trigger_id = 1, 2
    assert same.shared_stream_key() != other.shared_stream_key()
    assert same.shared_stream_key() == same.shared_stream_key()


def test_its_place_belongs_to_what_is_watched() -> None:
    for changed, stays in [
        ({"bloq_conn_id": "other"}, True),
        ({"poll_interval": 3.0}, True),
        ({"max_range": 7}, True),
        ({"start": 5}, True),
        ({"node": {**NODE, "tls_fingerprint": "CD" * 32}}, True),
        ({"node": "node-2"}, False),
        ({"confirmations": 3}, False),
        ({"every": 3}, False),
        ({"label": "named"}, False),
    ]:
        before, after = BloqBlockTrigger(node=NODE), BloqBlockTrigger(**{"node": NODE, **changed})
        assert (before.checkpoint_key == after.checkpoint_key) is stays


def test_a_label_keeps_the_place_whatever_changes() -> None:
    one = BloqBlockTrigger(node=NODE, label="mine")
    other = BloqBlockTrigger(node="node-2", every=3, label="mine")
    logs = BloqLogsTrigger(node=NODE, label="mine")
    assert one.checkpoint_key == other.checkpoint_key != logs.checkpoint_key


def test_what_cannot_be_is_refused_where_it_is_written() -> None:
    for kind, arguments, field in [
        (BloqBlockTrigger, {"every": 0}, "every"),
        (BloqBlockTrigger, {"every": 5, "max_range": 4}, "max_range"),
        (BloqBlockTrigger, {"max_range": 10_001}, "max_range"),
        (BloqBlockTrigger, {"start": -1}, "start"),
        (BloqBlockTrigger, {"start": "earliest"}, "start"),
        (BloqBlockTrigger, {"poll_interval": 0}, "poll_interval"),
        (BloqBlockTrigger, {"poll_interval": "10"}, "poll_interval"),
        (BloqBlockTrigger, {"label": "a/b"}, "label"),
        (BloqBlockTrigger, {"confirmations": 0}, "confirmations"),
        (BloqBlockTrigger, {"finality": "safe", "confirmations": 1}, "finality"),
        (BloqBlockTrigger, {"node": "https://node.example.com"}, "family"),
        (BloqAddressTrigger, {"addresses": []}, "addresses"),
        (BloqLogsTrigger, {"topics": ["0x1"]}, "topics"),
    ]:
        with pytest.raises(BloqConfigurationError) as wrong:
            kind(**{"node": NODE, **arguments})
        assert wrong.value.fields == (field,)
